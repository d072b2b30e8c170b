// GGUF files as other programs write them: several parts, types and keys that a judge has no use for, older names.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "io/expect_error.h"
#include "io/gguf_config.h"
#include "io/model_files.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

void add_split(GgufWriter& gguf, uint16_t number, uint16_t count, int32_t tensors) {
  gguf.add("split.no", 2, raw(number));
  gguf.add("split.count", 2, raw(count));
  gguf.add("split.tensors.count", 5, raw(tensors));
}

/** The tiny model in three files; the tensors dealt in turns. */
struct Parts {
  std::vector<GgufWriter> files;
  Parts() {
    GgufWriter whole = tiny_gguf(tiny_config());
    files = {whole, GgufWriter(), GgufWriter()};
    files[0].tensors().clear();
    size_t turn = 0;
    for (auto& tensor : whole.tensors()) files[turn++ % 3].add_tensor(tensor);
    for (uint16_t i = 0; i < 3; ++i) add_split(files[i], i, 3, static_cast<int32_t>(whole.tensors().size()));
  }
  static std::string name(int part) { return fmt::format("tiny-{:05}-of-00003.gguf", part); }
  void write(const TempFolder& folder) const {
    for (int i = 0; i < 3; ++i) folder.file(name(i + 1), files[static_cast<size_t>(i)].bytes());
  }
};

TEST(GgufParts, AreOneModel) {
  TempFolder folder;
  Parts parts;
  parts.write(folder);
  ModelFiles whole = ModelFiles::open(folder.file("whole.gguf", tiny_gguf(tiny_config()).bytes()));
  ModelFiles files = ModelFiles::open(folder.path() / Parts::name(1));
  EXPECT_EQ(files.names(), whole.names());
  EXPECT_TRUE(files.notes().empty());
  for (const std::string& name : files.names()) {
    HostTensor a = files.read(name, DType::kF32), b = whole.read(name, DType::kF32);
    ASSERT_EQ(a.shape(), b.shape()) << name;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name;
    files.release(name);
  }
}

TEST(GgufParts, AreRefusedWhenOneIsMissingOrAnother) {
  TempFolder folder;
  auto open = [&](const std::string& name) { return [&folder, name] { ModelFiles::open(folder.path() / name); }; };
  Parts parts;
  parts.write(folder);
  expect_error(open(Parts::name(2)), {Parts::name(2), "part 2 of 3", Parts::name(1)});
  fs::copy(folder.path() / Parts::name(1), folder.path() / "renamed.gguf");
  expect_error(open("renamed.gguf"), {"renamed.gguf", "first of 3 parts", "-00001-of-00003.gguf"});
  fs::remove(folder.path() / Parts::name(3));
  expect_error(open(Parts::name(1)), {"part 3 is missing", Parts::name(3)});
  fs::copy(folder.path() / Parts::name(2), folder.path() / Parts::name(3));
  expect_error(open(Parts::name(1)), {Parts::name(3), "expected part 3 of 3", "split.no 1"});

  Parts fewer;
  fewer.files[2].tensors().pop_back();
  fewer.write(folder);
  expect_error(open(Parts::name(1)), {"split.tensors.count is 20", "hold 19"});
  Parts twice;
  twice.files[2].add_tensor(twice.files[0].tensors().front());
  twice.write(folder);
  expect_error(open(Parts::name(1)), {Parts::name(3), "stands in an earlier part"});
  GgufWriter wild = tiny_gguf(tiny_config());
  add_split(wild, 7, 3, 20);
  folder.file("wild.gguf", wild.bytes());
  expect_error(open("wild.gguf"), {"split.no is 7"});
  GgufWriter alone = tiny_gguf(tiny_config());
  add_split(alone, 0, 1, 20);
  folder.file("alone.gguf", alone.bytes());
  EXPECT_NO_THROW(open("alone.gguf")());
}

TEST(GgufOpening, UnusedTensorsMayHaveAnyType) {
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  for (uint32_t type : {9u, 15u, 16u, 17u, 18u, 19u, 21u, 22u, 24u, 25u, 26u, 27u, 28u, 29u, 40u, 41u}) {
    const GgmlBlock block = *ggml_block(type);
    EXPECT_FALSE(block.readable) << block.name;
    gguf.add_tensor({"extra." + block.name, {2, block.elements}, type, std::string(2 * block.bytes, '\1')});
  }
  gguf.add_tensor({"extra.empty", {0, 4}, 0, ""});
  gguf.add_f32("extra.last", {1}, {1});
  ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
  EXPECT_EQ(files.unused().size(), 18u);
  expect_error([&] { files.read("extra.I32", DType::kF32); }, {"'extra.I32' has the storage type I32", "IQ4_XS"});

  GgufWriter needed = tiny_gguf(tiny_config());
  needed.tensors()[1].type = 26;
  expect_error([&] { ModelFiles::open(folder.file("n.gguf", needed.bytes())); },
               {"n.gguf", "'output_norm.weight' has the storage type I32", "supported are F32"});
}

TEST(GgufOpening, ListsOfListsAreReadPast) {
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  const std::string numbers = raw(uint32_t{4}) + raw(uint64_t{2}) + raw(uint32_t{1}) + raw(uint32_t{2});
  const std::string texts = raw(uint32_t{8}) + raw(uint64_t{1}) + GgufWriter::text("a");
  gguf.add("general.nested", 9, raw(uint32_t{9}) + raw(uint64_t{2}) + numbers + texts);
  gguf.add_integer("general.last", 5);
  auto file = GgufFile::open(folder.file("m.gguf", gguf.bytes()));
  EXPECT_EQ(file->integer("general.last"), 5);
  expect_error([&] { file->texts("general.nested"); }, {"'general.nested' is of another type"});
  EXPECT_NO_THROW(ModelFiles::open(folder.path() / "m.gguf"));
}

TEST(GgufOpening, OtherFormatsAreNamed) {
  TempFolder folder;
  GgufWriter big = tiny_gguf(tiny_config());
  big.version = 0x03000000;
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", big.bytes())); },
               {"m.gguf", "big-endian", "gguf-convert-endian"});
  big.magic = "tjgg";
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", big.bytes())); }, {"m.gguf", "from before GGUF"});
}

TEST(GgufOpening, KeysThatChangeNumbersAreRefusedWithTheirValue) {
  TempFolder folder;
  auto open = [&](const std::function<void(GgufWriter&)>& change) {
    GgufWriter gguf = tiny_gguf(tiny_config());
    change(gguf);
    return ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
  };
  const std::string one = raw(1.0f), half = raw(0.5f), zero = raw(0.0f), yes = raw(uint8_t{1}), no = raw(uint8_t{0});
  const std::string sections = raw(uint32_t{5}) + raw(uint64_t{2});
  struct Case {
    const char* key;
    uint32_t type;
    std::string harmless, refused;
  };
  for (const Case& c :
       std::initializer_list<Case>{{"attention.causal", 7, yes, no},
                                   {"use_parallel_residual", 7, no, yes},
                                   {"attention.clamp_kqv", 6, zero, half},
                                   {"attention.max_alibi_bias", 6, zero, half},
                                   {"attention.scale", 6, zero, half},
                                   {"attn_logit_softcapping", 6, zero, half},
                                   {"residual_scale", 6, one, half},
                                   {"embedding_scale", 6, one, half},
                                   {"rope.scaling.attn_factor", 6, one, half},
                                   {"rope.scaling.yarn_log_multiplier", 6, zero, half},
                                   {"rope.scaling.yarn_ext_factor", 6, raw(-1.0f), half},
                                   {"rope.dimension_sections", 9, sections + raw(int32_t{0}) + raw(int32_t{0}),
                                    sections + raw(int32_t{0}) + raw(int32_t{4})},
                                   {"nextn_predict_layers", 4, raw(uint32_t{0}), raw(uint32_t{1})},
                                   {"attention.key_length_swa", 4, raw(uint32_t{8}), raw(uint32_t{4})}}) {
    const std::string key = std::string("llama.") + c.key;
    EXPECT_TRUE(open([&](GgufWriter& gguf) { gguf.add(key, c.type, c.harmless); }).notes().empty()) << key;
    expect_error([&] { open([&](GgufWriter& gguf) { gguf.add(key, c.type, c.refused); }); },
                 {"m.gguf", "'" + key + "'"});
  }
  for (const char* key : {"logit_scale", "final_logit_softcapping"})
    EXPECT_TRUE(open([&](GgufWriter& gguf) { gguf.add_float(std::string("llama.") + key, 0.5f); }).notes().empty());
  auto notes = open([](GgufWriter& gguf) {
                 gguf.add_integer("llama.a_new_key", 1);
                 gguf.add("llama.off", 7, raw(uint8_t{0}));
                 gguf.add_integer("other.key", 1);
               }).notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes[0], testing::EndsWith(": llama.a_new_key"));
}

TEST(GgufOpening, WhatIsNoPlainModelIsNamed) {
  TempFolder folder;
  GgufWriter adapter = tiny_gguf(tiny_config()), scaled = adapter, model = adapter;
  adapter.add_text("general.type", "adapter");
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", adapter.bytes())); }, {"general.type is 'adapter'"});
  scaled.add_f32("blk.1.attn_q.scale", {1}, {2});
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", scaled.bytes())); },
               {"'blk.1.attn_q.scale' scales a weight"});
  model.add_text("general.type", "model");
  model.add_f32("notes.scale", {1}, {2});
  EXPECT_EQ(ModelFiles::open(folder.file("m.gguf", model.bytes())).unused().size(), 1u);
}

TEST(GgufOpening, ANumberForEachLayerMustBeTheSame) {
  TempFolder folder;
  GgufWriter gguf;
  gguf.add_text("general.architecture", "llama");
  gguf.add_integer("llama.embedding_length", 32);
  gguf.add_integer("llama.block_count", 2);
  gguf.add_integer("llama.attention.head_count", 4);
  gguf.add_float("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  gguf.add("llama.feed_forward_length", 9, raw(uint32_t{4}) + raw(uint64_t{2}) + raw(uint32_t{48}) + raw(uint32_t{48}));
  GgufWriter whole = tiny_gguf(tiny_config());
  for (auto& tensor : whole.tensors()) gguf.add_tensor(tensor);
  GgufWriter unlike = gguf;
  auto heads = [](uint32_t second) { return raw(uint32_t{4}) + raw(uint64_t{2}) + raw(uint32_t{2}) + raw(second); };
  gguf.add("llama.attention.head_count_kv", 9, heads(2));
  unlike.add("llama.attention.head_count_kv", 9, heads(1));
  EXPECT_EQ(ModelFiles::open(folder.file("m.gguf", gguf.bytes())).config().num_key_value_heads, 2);
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", unlike.bytes())); },
               {"'llama.attention.head_count_kv' is 2 for one layer and 1 for another"});
}

TEST(GgufOpening, AnyBiasOfAttentionCounts) {
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  for (const char* layer : {"0", "1"})
    gguf.add_f32(fmt::format("blk.{}.attn_v.bias", layer), {16}, std::vector<float>(16, 3));
  ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
  EXPECT_EQ(files.read("model.layers.1.self_attn.v_proj.bias", DType::kF32).as<float>()[0], 3);
  EXPECT_EQ(files.read("model.layers.1.self_attn.q_proj.bias", DType::kF32).as<float>()[0], 0);
  EXPECT_EQ(files.unused().size(), 0u);
}

TEST(GgufOpening, TheDocsNameTheTypesThatAreRead) {
  EXPECT_THAT(read_text(fs::path(GAVEL_SOURCE_DIR) / "docs/models.md"), testing::HasSubstr(readable_ggml_types()));
}

// The tensors are those that the Python package gguf 0.19 reads; the sum of their absolute values is its sum.
TEST(GgufOpening, SharedCases) {
  const char* given = std::getenv("GAVEL_SHARED");
  const fs::path cases =
      (given != nullptr ? fs::path(given) : fs::path(GAVEL_SOURCE_DIR) / "../shared") / "cases/gguf_and_chat";
  if (!fs::exists(cases)) GTEST_SKIP() << "shared data is not here (GAVEL_SHARED)";
  for (const char* name :
       {"gguf-f64-i64-tensor", "gguf-i32-tensor", "gguf-nested-array", "gguf-pre-deepseek-llm", "gguf-pre-qwen2",
        "gguf-pre-tekken", "gguf-rope-factor-without-type", "gguf-rope-scale-linear-old-key", "gguf-split"}) {
    SCOPED_TRACE(name);
    const bool split = std::string(name) == "gguf-split";
    ModelFiles files = ModelFiles::open(cases / name / (split ? "m-00001-of-00002.gguf" : "m.gguf"));
    double sum = 0;
    for (const auto& tensor : files.spec().base_tensors()) {
      const HostTensor values = files.read(tensor.name, DType::kF32);
      for (float value : values.as<float>()) sum += std::abs(double{value});
    }
    EXPECT_NEAR(sum, 10130.226971920576, 1e-6);
    const bool scaled = std::string(name).starts_with("gguf-rope");
    EXPECT_EQ(files.config().rope.scaling.type, scaled ? "linear" : "default");
    EXPECT_EQ(files.config().rope.scaling.factor, scaled ? 4 : 1);
  }
  expect_error([&] { ModelFiles::open(cases / "gguf-big-endian/m.gguf"); }, {"m.gguf", "big-endian"});
}

}  // namespace
}  // namespace gavel
