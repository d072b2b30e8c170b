#include "io/model_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/expect_error.h"
#include "io/gguf_config.h"
#include "io/safetensors.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<std::pair<std::string, HostTensor>>;

void expect_same(const HostTensor& a, const HostTensor& b, const std::string& name) {
  ASSERT_EQ(a.dtype(), b.dtype()) << name;
  ASSERT_EQ(a.shape(), b.shape()) << name;
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name;
}

void write_folder(const TempFolder& folder, const Tensors& tensors) {
  folder.file("config.json", tiny_config().to_json(3, "float32"));
  write_safetensors(folder.path() / "model.safetensors", tensors, {});
}

TEST(ModelFiles, AFolderInItsOwnTypeIsAView) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    TempFolder folder;
    Tensors tensors = tiny_tensors(tiny_config(), dtype);
    write_folder(folder, tensors);
    ModelFiles files = ModelFiles::open(folder.path());
    EXPECT_EQ(files.names().size(), tensors.size());
    EXPECT_TRUE(files.unused().empty());
    for (const auto& [name, tensor] : tensors) {
      HostTensor read = files.read(name, dtype);
      expect_same(read, tensor, name);
      EXPECT_EQ(files.shape(name), tensor.shape());
      EXPECT_EQ(read.data(), files.read(name, dtype).data()) << "the same mapped bytes";
      EXPECT_THROW(read.mutable_data(), Error) << "a view of the file";
      DType other = dtype == DType::kF32 ? DType::kBF16 : DType::kF32;
      expect_same(files.read(name, other), tensor.to(other), name);
    }
    expect_error([&] { files.read("model.norm.wieght", dtype); }, {"did you mean 'model.norm.weight'"});
  }
}

TEST(ModelFiles, NamesWithoutModelAndUnusedOnes) {
  TempFolder folder;
  Tensors bare = tiny_tensors(tiny_config(), DType::kF32);
  for (auto& [name, tensor] : bare) name = name.substr(6);
  bare.emplace_back("extra", HostTensor::from<int32_t>({1}, {1}));
  bare.emplace_back("lm_head.weight", HostTensor::from<float>({1}, {1}));
  write_folder(folder, bare);
  ModelFiles files = ModelFiles::open(folder.path());
  for (const auto& [name, tensor] : tiny_tensors(tiny_config(), DType::kF32))
    expect_same(files.read(name, DType::kF32), tensor, name);
  EXPECT_EQ(files.unused(), std::vector<std::string>{"extra"});
  expect_error([&] { files.read("extra", DType::kF32); }, {"tensor 'extra' holds int32, expected floats"});
  bare.emplace_back("model.norm.weight", bare[1].second);
  write_folder(folder, bare);
  expect_error([&] { ModelFiles::open(folder.path()); }, {"norm.weight", "twice"});
}

TEST(ModelFiles, ShardsAndTheirIndex) {
  TempFolder folder;
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  folder.file("config.json", tiny_config().to_json(3, "float32"));
  auto middle = tensors.begin() + 9;
  write_safetensors(folder.path() / "one.safetensors", {tensors.begin(), middle}, {});
  write_safetensors(folder.path() / "two.safetensors", {middle, tensors.end()}, {});
  auto index = [&](const std::string& more) {
    std::string text = "{\"weight_map\":{" + more;
    for (size_t i = 0; i < tensors.size(); ++i)
      text += fmt::format("{}\"{}\":\"{}.safetensors\"", text.ends_with('{') ? "" : ",", tensors[i].first,
                          i < 9 ? "one" : "two");
    folder.file("model.safetensors.index.json", text + "}}");
  };
  auto open = [&] { return ModelFiles::open(folder.path()); };
  index("");
  ModelFiles files = open();
  for (const auto& [name, tensor] : tensors) expect_same(files.read(name, DType::kF32), tensor, name);
  index("\"gone\":\"one.safetensors\"");
  expect_error(open, {"index.json", "tensor 'gone' should be in one.safetensors"});
  index("\"gone\":\"three.safetensors\"");
  expect_error(open, {"the shard", "three.safetensors is missing", "tensor 'gone'"});
  index("\"gone\":\"../one.safetensors\"");
  expect_error(open, {"index.json", "must be a file within the folder"});
  index("\"gone\":3");
  expect_error(open, {"index.json", "the shard of 'gone' is not a file name"});
  folder.file("model.safetensors.index.json", "{}");
  expect_error(open, {"index.json", "'weight_map' is missing"});
  folder.file("model.safetensors.index.json", "{");
  expect_error(open, {"index.json", "not valid JSON"});
}

TEST(ModelFiles, WhatIsMissingOrOfAnotherShape) {
  TempFolder folder;
  auto open = [&] { ModelFiles::open(folder.path()); };
  expect_error(open, {"config.json is missing"});
  folder.file("config.json", tiny_config().to_json(3, "float32"));
  expect_error(open, {"neither model.safetensors nor model.safetensors.index.json"});
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  std::string name = tensors.back().first;
  Tensors fewer(tensors.begin(), tensors.end() - 1);
  write_folder(folder, fewer);
  expect_error(open, {folder.path().string(), "tensor '" + name + "' is missing"});
  fewer.emplace_back(name, HostTensor(DType::kF32, {48, 32}));
  write_folder(folder, fewer);
  expect_error(open, {"tensor '" + name + "' has shape [48, 32], the config calls for [32, 48]"});
  expect_error([] { ModelFiles::open("smollm3-instruct"); }, {"smollm3-instruct", "nothing is there"});
  expect_error([&] { ModelFiles::open(folder.file("model.bin", "x")); }, {"model.bin", "expected a Hugging Face"});
}

TEST(ModelFiles, GgufIsTheSameModel) {
  TempFolder folder;
  auto path = folder.file("m.gguf", tiny_gguf(tiny_config()).bytes());
  ModelFiles files = ModelFiles::open(path);
  for (const auto& [name, tensor] : tiny_tensors(tiny_config(), DType::kF32)) {
    expect_same(files.read(name, DType::kF32), tensor, name);
    expect_same(files.read(name, DType::kBF16), tensor.to(DType::kBF16), name);
  }
  EXPECT_TRUE(files.config().tie_word_embeddings);
  EXPECT_EQ(files.config().rope.rope_theta, 500000);
  EXPECT_EQ(files.config().rms_norm_eps, 0.0009765625);
  EXPECT_THROW(files.read("model.norm.weight", DType::kF64), Error);

  // transformers opens this folder; opened here it is the same model again.
  export_folder(files, folder.path() / "out", DType::kF32, 3);
  ModelFiles exported = ModelFiles::open(folder.path() / "out");
  for (const auto& [name, tensor] : tiny_tensors(tiny_config(), DType::kF32))
    expect_same(exported.read(name, DType::kF32), tensor, name);
  EXPECT_EQ(exported.config().pad_token_id, 2);
  EXPECT_EQ(exported.config().num_key_value_heads, 2);
}

TEST(ModelFiles, AnExportNamesItsLabelsAndKeepsTheBasesHead) {
  TempFolder folder;
  const std::filesystem::path goldens = std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/train";
  auto labels_of = [&](const char* base, const char* out, std::optional<int64_t> num_labels) {
    export_folder(ModelFiles::open(goldens / base), folder.path() / out, DType::kF32, num_labels);
    return nlohmann::json::parse(read_text(folder.path() / out / "config.json"))["id2label"].dump();
  };
  // A head of three labels is written again, a reward's with its one label.
  EXPECT_EQ(labels_of("golden", "judge", std::nullopt), R"({"0":"A","1":"B","2":"tie"})");
  expect_same(ModelFiles::open(folder.path() / "judge").read("score.weight", DType::kF32),
              ModelFiles::open(goldens / "golden").read("score.weight", DType::kF32), "judge");
  EXPECT_EQ(labels_of("golden_reward", "reward", std::nullopt), R"({"0":"LABEL_0"})");
  expect_same(ModelFiles::open(folder.path() / "reward").read("score.weight", DType::kF32),
              ModelFiles::open(goldens / "golden_reward").read("score.weight", DType::kF32), "reward");
  // With other labels than the base's there is no head in it.
  EXPECT_EQ(labels_of("golden_reward", "two", 2), R"({"0":"A","1":"B"})");
  EXPECT_FALSE(ModelFiles::open(folder.path() / "two").has("score.weight"));
  EXPECT_EQ(labels_of("golden", "five", 5),
            R"({"0":"LABEL_0","1":"LABEL_1","2":"LABEL_2","3":"LABEL_3","4":"LABEL_4"})");
}

TEST(ModelFiles, GgufOfAnotherArchitectureOrWithoutKeys) {
  TempFolder folder;
  auto open = [&](const GgufWriter& gguf) { ModelFiles::open(folder.file("m.gguf", gguf.bytes())); };
  GgufWriter other;
  other.add_text("general.architecture", "gpt2");
  expect_error([&] { open(other); }, {"m.gguf", "general.architecture is 'gpt2'"});
  expect_error([&] { open(GgufWriter()); }, {"m.gguf", "metadata 'general.architecture' is missing"});
  GgufWriter bare;
  bare.add_text("general.architecture", "llama");
  expect_error([&] { open(bare); }, {"m.gguf", "metadata 'llama.attention.head_count' is missing"});
  GgufWriter yarn = tiny_gguf(tiny_config());
  yarn.add_text("llama.rope.scaling.type", "yarn");
  expect_error([&] { open(yarn); }, {"llama.rope.scaling.factor is missing, and llama.rope.scaling.type is 'yarn'"});
  GgufWriter longrope = tiny_gguf(tiny_config());
  longrope.add_text("llama.rope.scaling.type", "longrope");
  expect_error([&] { open(longrope); }, {"llama.rope.scaling.type is 'longrope'; expected none, linear or yarn"});
  GgufWriter fewer = tiny_gguf(tiny_config());
  fewer.tensors().pop_back();
  expect_error([&] { open(fewer); }, {"m.gguf", "tensor 'model.layers.1.mlp.down_proj.weight' is missing"});
  fewer.tensors().erase(fewer.tensors().begin());
  expect_error([&] { open(fewer); }, {"tensor 'token_embd.weight' is missing"});
}

TEST(ModelFiles, Llama3FactorsOfGgufBecomeTheRule) {
  for (double factor : {8.0, 32.0}) {
    TempFolder folder;
    GgufWriter gguf = tiny_gguf(tiny_config());
    auto expected = frequency_divisors({500000, {"llama3", factor, 1, 4, 8192}, {}}, 8);
    std::vector<float> factors(expected.begin(), expected.end());
    ASSERT_EQ(factors.back(), static_cast<float>(factor));
    gguf.add_f32("rope_freqs.weight", {4}, factors);
    ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
    EXPECT_EQ(files.config().rope.scaling.type, "llama3");
    EXPECT_EQ(files.config().rope.scaling.factor, factor);
    EXPECT_TRUE(files.config().rope.freq_factors.empty());
    EXPECT_FALSE(files.has("rope_freqs.weight"));
    export_folder(files, folder.path() / "out", DType::kBF16, 3);
    EXPECT_EQ(ModelConfig::from_file(folder.path() / "out" / "config.json").rope.scaling.factor, factor);

    // One factor off by more than rounding: no rule, kept as it is, and no config.json can say it.
    gguf.tensors().pop_back();
    factors[3] *= 1.0001f;
    gguf.add_f32("rope_freqs.weight", {4}, factors);
    ModelFiles odd = ModelFiles::open(folder.file("odd.gguf", gguf.bytes()));
    EXPECT_EQ(odd.config().rope.scaling.type, "default");
    EXPECT_EQ(odd.config().rope.freq_factors, factors);
    expect_error([&] { export_folder(odd, folder.path() / "odd", DType::kF32, 3); }, {"odd.gguf", "rope_freqs.weight"});
    EXPECT_FALSE(fs::exists(folder.path() / "odd"));
  }
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  gguf.add_f32("rope_freqs.weight", {4}, {1, 0, 1, 1});
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", gguf.bytes())); },
               {"'rope_freqs.weight' holds 0, expected positive"});
  gguf.tensors().pop_back();
  gguf.add_f32("rope_freqs.weight", {3}, {1, 1, 1});
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", gguf.bytes())); }, {"3 rope factors for head_dim 8"});
}

TEST(ModelFiles, OddUnusedTensorsOfGgufDoNoHarm) {
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  gguf.add_f32("blk.9.attn_q.weight", {}, {1});
  gguf.add_f32("blk.9.attn_k.weight", {3, 1}, {1, 2, 3});
  ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
  EXPECT_EQ(files.unused().size(), 2u);
  // They belong to no layer of the model, so nothing is known of the order of their rows.
  expect_same(files.read("blk.9.attn_q.weight", DType::kF32), HostTensor::from<float>({1}, {}), "a number");
  expect_same(files.read("blk.9.attn_k.weight", DType::kF32), HostTensor::from<float>({1, 2, 3}, {3, 1}), "rows");
}

}  // namespace
}  // namespace gavel
