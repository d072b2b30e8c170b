#include "io/safetensors.h"

#include "io/expect_error.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

/** Opens a file of this header and so many bytes of data. */
void expect_bad(const std::string& header, size_t data, const std::vector<std::string>& parts) {
  TempFolder folder;
  auto path = folder.file("bad.safetensors", safetensors_bytes(header, std::string(data, '\1')));
  auto all = parts;
  all.push_back("bad.safetensors");
  expect_error([&] { SafetensorsFile::open(path); }, all);
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

TEST(Safetensors, RoundTripKeepsBitsOrderAndMetadata) {
  TempFolder folder;
  std::vector<std::pair<std::string, HostTensor>> tensors = {
      {"b", HostTensor::from<float>({1.5f, -0.0f, 3}, {3})},
      {"a", HostTensor::from<int64_t>({-7, 1}, {2, 1})},
      {"half \"quoted\" é", HostTensor::from<float>({1, 2}, {2}).to(DType::kBF16)},
      {"scalar", HostTensor::from<uint8_t>({9}, {})},
      {"empty", HostTensor(DType::kF64, {0, 4})},
  };
  std::map<std::string, std::string> metadata = {{"z", "1"}, {"format", "pt"}};
  write_safetensors(folder.path() / "one", tensors, metadata);
  auto file = SafetensorsFile::open(folder.path() / "one");
  EXPECT_EQ(file->metadata(), metadata);
  ASSERT_EQ(file->tensors().size(), tensors.size());
  size_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file->tensors().at(name).begin, at) << "in the order given";
    at += tensor.bytes();
    HostTensor read = file->tensor(name);
    EXPECT_EQ(read.dtype(), tensor.dtype());
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.data(), tensor.data(), tensor.bytes()), 0) << name;
  }
  write_safetensors(folder.path() / "two", tensors, metadata);
  std::string bytes = read_text(folder.path() / "one");
  EXPECT_EQ(bytes, read_text(folder.path() / "two"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
}

TEST(Safetensors, EveryDTypeIsReadBack) {
  TempFolder folder;
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (int d = 0; d <= static_cast<int>(DType::kF64); ++d)
    tensors.emplace_back(std::to_string(d), HostTensor(static_cast<DType>(d), {2, 3}));
  write_safetensors(folder.path() / "all", tensors, {});
  auto file = SafetensorsFile::open(folder.path() / "all");
  for (const auto& [name, tensor] : tensors) EXPECT_EQ(file->tensor(name).dtype(), tensor.dtype());
}

TEST(Safetensors, ATensorKeepsItsFileMapped) {
  TempFolder folder;
  write_safetensors(folder.path() / "f", {{"x", HostTensor::from<float>({1, 2, 3}, {3})}}, {});
  HostTensor tensor = SafetensorsFile::open(folder.path() / "f")->tensor("x");
  EXPECT_EQ(tensor.as<float>()[2], 3);
  EXPECT_THROW(tensor.mutable_data(), Error) << "a view";
}

TEST(Safetensors, DataThatIsNotAlignedIsCopied) {
  TempFolder folder;
  std::string header = "{" + entry("x", "F32", "[1]", "[0,4]") + "}";
  while (header.size() % 4 != 1) header += ' ';
  auto path = folder.file("f", safetensors_bytes(header, raw(2.5f)));
  HostTensor tensor = SafetensorsFile::open(path)->tensor("x");
  EXPECT_EQ(tensor.as<float>()[0], 2.5f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 4, 0u);
}

TEST(Safetensors, FilesThatAreNone) {
  TempFolder folder;
  expect_error([&] { SafetensorsFile::open(folder.path() / "absent"); }, {"absent", "can't be opened"});
  expect_error([&] { SafetensorsFile::open(folder.path()); }, {"a folder"});
  for (size_t size : {0, 7})
    expect_error([&] { SafetensorsFile::open(folder.file("short.st", std::string(size, 'x'))); },
                 {"short.st", fmt::format("{} bytes, expected at least 8", size)});
  for (uint64_t length : {uint64_t{3}, uint64_t{1} << 40, ~uint64_t{0}})
    expect_error([&] { SafetensorsFile::open(folder.file("long.st", raw(length) + "{}")); },
                 {"long.st", fmt::format("the header claims {} bytes", length)});
  expect_bad("{\"a\":", 0, {"not valid JSON"});
  expect_bad("", 0, {"not valid JSON"});
  expect_bad("[]", 0, {"not a JSON object"});
  expect_bad("{\"a\":{\"dtype\":\"\xff\"}}", 0, {"not valid JSON"});
}

TEST(Safetensors, DeepNestingNeitherOverflowsNorPasses) {
  std::string deep(200000, '[');
  expect_bad("{\"a\":{\"shape\":" + deep + std::string(200000, ']') + "}}", 0, {"nested too deeply"});
  expect_bad("{\"a\":" + deep, 0, {"bad.safetensors"});
}

TEST(Safetensors, BadEntriesNameTheirTensor) {
  auto bad = [](const std::string& text, const std::string& why) {
    expect_bad("{" + text + "}", 8, {"tensor 'w'", why});
  };
  bad("\"w\":3", "its entry is not an object");
  bad(R"("w":{"shape":[2],"data_offsets":[0,8]})", "'dtype' is missing");
  bad(R"("w":{"dtype":4,"shape":[2],"data_offsets":[0,8]})", "'dtype' is missing or not a text");
  bad(R"("w":{"dtype":"F32","data_offsets":[0,8]})", "'shape' is missing");
  bad(R"("w":{"dtype":"F32","shape":[2]})", "'data_offsets' is missing");
  bad(entry("w", "F7_E4M2", "[8]", "[0,8]"), "dtype 'F7_E4M2' is not known");
  bad(entry("w", "F6_E3M2", "[9]", "[0,8]"), "no whole number of bytes");
  bad(entry("w", "F32", "[-2]", "[0,8]"), "'shape' holds -2, expected whole numbers");
  bad(entry("w", "F32", "[2.0]", "[0,8]"), "'shape' holds 2.0, expected whole numbers");
  bad(entry("w", "F32", "[[2]]", "[0,8]"), "'shape' holds array, expected whole numbers");
  bad(entry("w", "F32", "[2]", "[0,8,8]"), "'data_offsets' must be [begin, end]");
  bad(entry("w", "F32", "[2]", "[8,0]"), "'data_offsets' must be [begin, end]");
  bad(entry("w", "F32", "[3]", "[0,8]"), "needs 12 bytes, 'data_offsets' span 8");
  bad(entry("w", "F32", "[4]", "[0,16]"), "its data ends at byte 16, the file holds 8");
  bad(entry("w", "F32", "[2]", "[18446744073709551608,18446744073709551615]"), "the file holds 8");
  bad(entry("w", "F32", "[9223372036854775807]", "[0,8]"), "dimension 9223372036854775807 is too large");
  bad(entry("w", "F32", "[1099511627776,1099511627776]", "[0,8]"), "is too large");
  bad(entry("w", "F32", "[2]", "[0,8]") + "," + entry("w", "F32", "[2]", "[0,8]"), "twice");
  expect_bad(R"({"__metadata__":{"a":1}})", 0, {"__metadata__ 'a' is not a text"});
  expect_bad(R"({"__metadata__":[]})", 0, {"__metadata__ is not an object"});
}

TEST(Safetensors, RangesMustCoverTheDataOnce) {
  expect_bad("{" + entry("a", "U8", "[5]", "[0,5]") + "," + entry("w", "U8", "[4]", "[4,8]") + "}", 8,
             {"tensor 'w' overlaps"});
  expect_bad("{" + entry("a", "U8", "[3]", "[0,3]") + "," + entry("w", "U8", "[4]", "[4,8]") + "}", 8,
             {"1 bytes before tensor 'w' belong to no tensor"});
  expect_bad("{" + entry("a", "U8", "[3]", "[0,3]") + "}", 8, {"the tensors end at byte 3, the data at 8"});
}

TEST(Safetensors, ACutFileIsSeenAtEveryLength) {
  TempFolder folder;
  write_safetensors(folder.path() / "whole",
                    {{"x", HostTensor::from<float>({1, 2}, {2})}, {"y", HostTensor::from<float>({3}, {1})}},
                    {{"format", "pt"}});
  std::string bytes = read_text(folder.path() / "whole");
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(SafetensorsFile::open(folder.file("cut", bytes.substr(0, size))), Error) << size;
  EXPECT_NO_THROW(SafetensorsFile::open(folder.file("cut", bytes)));
}

TEST(Safetensors, AbsentTensorAndNameGivenTwice) {
  TempFolder folder;
  auto x = HostTensor::from<float>({1}, {1});
  write_safetensors(folder.path() / "f", {{"layer.weight", x}}, {});
  auto file = SafetensorsFile::open(folder.path() / "f");
  expect_error([&] { file->tensor("layer.wieght"); }, {"no tensor 'layer.wieght'", "did you mean 'layer.weight'"});
  expect_error([&] { write_safetensors(folder.path() / "g", {{"a", x}, {"a", x}}, {}); }, {"'a' given twice"});
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "g"));
  expect_error(
      [&] {
        write_safetensors(folder.path() / "g", {TensorToWrite{"a", DType::kF32, {2}}},
                          [&](const TensorToWrite&) { return x; }, {});
      },
      {"tensor 'a' is float32 [1], expected float32 [2]"});
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "g")) << "whole or not at all";
}

}  // namespace
}  // namespace gavel
