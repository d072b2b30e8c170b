#include "io/gguf.h"

#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

void expect_bad(const std::string& bytes, const std::vector<std::string>& parts) {
  TempFolder folder;
  auto path = folder.file("bad.gguf", bytes);
  auto all = parts;
  all.push_back("bad.gguf");
  expect_error([&] { GgufFile::open(path); }, all);
}

GgufWriter one_tensor() {
  GgufWriter gguf;
  gguf.add_f32("t", {2, 3}, {1, 2, 3, 4, 5, 6});
  return gguf;
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  TempFolder folder;
  for (uint32_t version : {2u, 3u}) {
    GgufWriter gguf = one_tensor();
    gguf.version = version;
    gguf.add("u8", 0, raw(uint8_t{200}));
    gguf.add("i8", 1, raw(int8_t{-2}));
    gguf.add("u16", 2, raw(uint16_t{60000}));
    gguf.add("i16", 3, raw(int16_t{-3}));
    gguf.add_integer("u32", 4000000000u);
    gguf.add("i32", 5, raw(int32_t{-4}));
    gguf.add_float("f32", 0.5f);
    gguf.add("bool", 7, raw(uint8_t{1}));
    gguf.add_text("text", "héllo");
    gguf.add("u64", 10, raw(uint64_t{1} << 40));
    gguf.add("i64", 11, raw(int64_t{-5}));
    gguf.add("f64", 12, raw(0.25));
    gguf.add("texts", 9, raw(uint32_t{8}) + raw(uint64_t{2}) + GgufWriter::text("a") + GgufWriter::text(""));
    gguf.add("ints", 9, raw(uint32_t{5}) + raw(uint64_t{2}) + raw(int32_t{-1}) + raw(int32_t{7}));
    gguf.add("bools", 9, raw(uint32_t{7}) + raw(uint64_t{2}) + raw(uint8_t{1}) + raw(uint8_t{0}));
    auto file = GgufFile::open(folder.file("m.gguf", gguf.bytes()));
    EXPECT_EQ(file->integer("u8"), 200);
    EXPECT_EQ(file->integer("i8"), -2);
    EXPECT_EQ(file->integer("u16"), 60000);
    EXPECT_EQ(file->integer("i16"), -3);
    EXPECT_EQ(file->integer("u32"), 4000000000);
    EXPECT_EQ(file->integer("i32"), -4);
    EXPECT_EQ(file->number("f32"), 0.5);
    EXPECT_EQ(file->number("i32"), -4.0);
    EXPECT_TRUE(file->boolean("bool"));
    EXPECT_EQ(file->text("text"), "héllo");
    EXPECT_EQ(file->integer("u64"), int64_t{1} << 40);
    EXPECT_EQ(file->integer("i64"), -5);
    EXPECT_EQ(file->number("f64"), 0.25);
    EXPECT_EQ(file->texts("texts"), (std::vector<std::string>{"a", ""}));
    EXPECT_EQ(file->integers("ints"), (std::vector<int64_t>{-1, 7}));
    EXPECT_EQ(file->integers("bools"), (std::vector<int64_t>{1, 0}));
    expect_error([&] { file->integer("absent"); }, {"m.gguf", "metadata 'absent' is missing"});
    expect_error([&] { file->integer("text"); }, {"m.gguf", "metadata 'text'", "expected a whole number"});
    expect_error([&] { file->texts("ints"); }, {"metadata 'ints'", "expected a list of texts"});
    EXPECT_EQ(file->tensors().at("t").shape, (Shape{2, 3}));
    EXPECT_EQ(file->read("t").as<float>()[5], 6);
    expect_error([&] { file->read("u"); }, {"no tensor 'u'"});
  }
}

TEST(Gguf, ElementsMustBeWholeBlocks) {
  TempFolder folder;
  GgufWriter gguf;
  gguf.add_tensor({"q", {2, 32}, 8, std::string(68, '\1')});
  auto file = GgufFile::open(folder.file("m.gguf", gguf.bytes()));
  std::vector<float> out(64);
  EXPECT_NO_THROW(file->read_elements("q", 32, 32, out.data()));
  for (auto [first, count] : {std::pair{1, 32}, {0, 31}, {32, 64}, {96, 32}, {-32, 32}, {0, -32}})
    EXPECT_THROW(file->read_elements("q", first, count, out.data()), Error) << first << " " << count;
}

TEST(Gguf, BadStarts) {
  expect_bad("", {"the magic number"});
  expect_bad("GG", {"the magic number"});
  GgufWriter gguf = one_tensor();
  gguf.magic = "GGML";
  expect_bad(gguf.bytes(), {"not a GGUF file"});
  for (uint32_t version : {0u, 1u, 4u}) {
    GgufWriter other = one_tensor();
    other.version = version;
    expect_bad(other.bytes(), {fmt::format("GGUF version {}; versions 2 and 3", version)});
  }
  for (uint64_t count : {uint64_t{1} << 20, uint64_t{1} << 62, ~uint64_t{0} - 1}) {
    GgufWriter keys = one_tensor(), tensors = one_tensor();
    keys.more_keys = count;
    tensors.more_tensors = count;
    expect_bad(keys.bytes(), {"metadata keys", "bytes can hold"});
    expect_bad(tensors.bytes(), {"tensors, more than"});
  }
}

TEST(Gguf, BadMetadataNamesItsKey) {
  auto bad = [](uint32_t type, const std::string& value, const std::vector<std::string>& parts) {
    GgufWriter gguf = one_tensor();
    gguf.add("the.key", type, value);
    auto all = parts;
    all.push_back("the.key");
    expect_bad(gguf.bytes(), all);
  };
  bad(13, raw(uint64_t{0}), {"unknown type 13"});
  bad(8, raw(~uint64_t{0}), {"cut short or damaged"});
  bad(8, raw(uint64_t{1} << 33), {"needs 8589934592 bytes"});
  bad(9, raw(uint32_t{0}) + raw(~uint64_t{0}), {"claims 18446744073709551615 elements"});
  bad(9, raw(uint32_t{10}) + raw(uint64_t{100}), {"claims 100 elements"});
  bad(9, raw(uint32_t{8}) + raw(uint64_t{1} << 60), {"elements"});
  bad(9, raw(uint32_t{9}) + raw(uint64_t{1} << 60), {"claims 1152921504606846976 elements"});
  bad(9, raw(uint32_t{9}) + raw(uint64_t{1}) + raw(uint32_t{13}) + raw(uint64_t{1}), {"unknown type 13"});
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += raw(uint32_t{9}) + raw(uint64_t{1});
  bad(9, deep, {"nested too deeply"});
  bad(9, raw(uint32_t{99}) + raw(uint64_t{1}), {"a list of the unknown type 99"});
  GgufWriter twice = one_tensor();
  twice.add_integer("the.key", 1);
  twice.add_integer("the.key", 1);
  expect_bad(twice.bytes(), {"'the.key' stands there twice"});
  GgufWriter name;
  name.more_keys = 1;
  expect_bad(name.bytes().substr(0, 24) + raw(~uint64_t{0}) + std::string(32, 'x'), {"metadata key 0"});
  for (uint32_t alignment : {0u, 3u, 1u << 30}) {
    GgufWriter gguf = one_tensor();
    gguf.add_integer("general.alignment", alignment);
    expect_bad(gguf.bytes(), {fmt::format("general.alignment is {}", alignment)});
  }
  GgufWriter text = one_tensor();
  text.add_text("general.alignment", "32");
  expect_bad(text.bytes(), {"general.alignment", "expected a whole number"});
}

TEST(Gguf, BadTensorsNameTheirTensor) {
  auto bad = [](const GgufWriter::Tensor& tensor, const std::string& why) {
    GgufWriter gguf;
    gguf.add_tensor(tensor);
    expect_bad(gguf.bytes(), {"tensor 'w'", why});
  };
  std::string data(64, '\1');
  bad({"w", {1, 1, 1, 1, 1}, 0, data}, "has 5 dimensions");
  bad({"w", {int64_t{1} << 41}, 0, data}, "has a dimension of");
  bad({"w", {-1}, 0, data}, "has a dimension of 18446744073709551615");
  bad({"w", {int64_t{1} << 39, int64_t{1} << 39}, 0, data}, "has a dimension of");
  bad({"w", {int64_t{1} << 31, int64_t{1} << 32}, 0, data}, "is too large");
  bad({"w", {int64_t{1} << 30, int64_t{1} << 30}, 0, data}, "the file has");
  for (uint32_t type : {4u, 5u, 31u, 36u, 0xffffffffu})
    bad({"w", {32}, type, data}, fmt::format("has the storage type {}, which is no type of ggml's", type));
  bad({"w", {4, 48}, 8, data}, "of type Q8_0 has rows of 48, not a multiple of 32");
  bad({"w", {32, 8}, 2, data}, "of type Q4_0 has rows of 8, not a multiple of 32");
  bad({"w", {128}, 12, data}, "of type Q4_K has rows of 128, not a multiple of 256");
  bad({"w", {}, 2, data}, "has rows of 1");
  bad({"w", {16}, 0, data, 4}, "starts at byte 4, not a multiple of 32");
  bad({"w", {16}, 0, data, 32}, "needs 64 bytes at byte 32");
  bad({"w", {16}, 0, data, ~uint64_t{31}}, "the file has");
  GgufWriter twice = one_tensor();
  twice.add_tensor({"t", {16}, 0, data});
  expect_bad(twice.bytes(), {"tensor 't' stands there twice"});
}

TEST(Gguf, ACutFileIsSeenAtEveryLength) {
  TempFolder folder;
  GgufWriter gguf = one_tensor();
  gguf.add_text("a.text", "abc");
  gguf.add("ints", 9, raw(uint32_t{5}) + raw(uint64_t{2}) + raw(int32_t{-1}) + raw(int32_t{7}));
  gguf.tensors()[0].shape = {2, 4};
  gguf.tensors()[0].data.resize(32);
  std::string bytes = gguf.bytes();
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(GgufFile::open(folder.file("cut", bytes.substr(0, size))), Error) << size;
  EXPECT_NO_THROW(GgufFile::open(folder.file("cut", bytes)));
}

}  // namespace
}  // namespace gavel
