// GGUF files of every family that has some: the same model as from a Hugging Face folder.
#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "io/model_files.h"
#include "io/sample_files.h"
#include "spec/family.h"

namespace gavel {
namespace {

ModelConfig small(const Family& family, const std::string& more) {
  return ModelConfig::from_json(
      fmt::format(
          R"({{"model_type":"{}","vocab_size":20,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":7,)"
          R"("num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"rms_norm_eps":0.0009765625,)"
          R"("query_pre_attn_scalar":8,"tie_word_embeddings":true,"max_position_embeddings":2048{}}})",
          family.model_type, more),
      "config");
}

/** The keys that every family has. */
GgufWriter keys_of(const ModelConfig& c, const std::string& architecture) {
  GgufWriter gguf;
  auto key = [&](const char* rest) { return architecture + "." + rest; };
  gguf.add_text("general.architecture", architecture);
  gguf.add_integer(key("embedding_length"), static_cast<uint32_t>(c.hidden_size));
  gguf.add_integer(key("feed_forward_length"), static_cast<uint32_t>(c.intermediate_size));
  gguf.add_integer(key("block_count"), static_cast<uint32_t>(c.num_hidden_layers));
  gguf.add_integer(key("attention.head_count"), static_cast<uint32_t>(c.num_attention_heads));
  gguf.add_integer(key("attention.head_count_kv"), static_cast<uint32_t>(c.num_key_value_heads));
  gguf.add_integer(key("attention.key_length"), static_cast<uint32_t>(c.head_dim));
  gguf.add_float(key("attention.layer_norm_rms_epsilon"), static_cast<float>(c.rms_norm_eps));
  return gguf;
}

/** Adds all tensors as a converter writes them, all the same number before its offset is added; returns that number. */
float add_tensors(const ModelConfig& config, GgufWriter& gguf) {
  for (const auto& tensor : decoder_spec(config).base_tensors())
    gguf.add_f32(
        tensor.gguf_name, tensor.spec.shape,
        std::vector<float>(static_cast<size_t>(num_elements(tensor.spec.shape)), 0.25f + tensor.spec.gguf_offset));
  return 0.25f;
}

TEST(GgufFamilies, AreReadAsFromAFolder) {
  for (const Family& family : families()) {
    if (family.gguf_architecture.empty()) continue;
    const bool gemma = family.model_type.starts_with("gemma");
    const ModelConfig config = small(family, gemma ? R"(,"sliding_window":5)" : "");
    GgufWriter gguf = keys_of(config, std::string(family.gguf_architecture));
    if (gemma) gguf.add_integer(fmt::format("{}.attention.sliding_window", family.gguf_architecture), 5);
    if (gemma) gguf.add_float(fmt::format("{}.rope.freq_base", family.gguf_architecture), config.rope.rope_theta);
    const float value = add_tensors(config, gguf);
    TempFolder folder;
    ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
    EXPECT_EQ(files.config().to_json(3, "float32"), config.to_json(3, "float32"));
    EXPECT_TRUE(files.unused().empty());
    for (const auto& tensor : files.spec().base_tensors())
      for (DType type : {DType::kF32, DType::kBF16}) {
        const HostTensor read = files.read(tensor.name, type).to(DType::kF32);
        for (float found : read.as<float>()) ASSERT_EQ(found, value) << tensor.name;
      }
  }
}

TEST(GgufFamilies, GemmasLargestModelDividesScoresByAnotherNumber) {
  const Family& family = family_of("gemma2", "");
  ModelConfig config = small(family, R"(,"layer_types":null)");
  config.num_hidden_layers = 46;
  config.layer_types.clear();
  GgufWriter gguf = keys_of(config, "gemma2");
  add_tensors(config, gguf);
  TempFolder folder;
  const ModelFiles files = ModelFiles::open(folder.file("m.gguf", gguf.bytes()));
  EXPECT_EQ(files.config().query_pre_attn_scalar, 32 / 4) << "hidden_size / num_attention_heads";
  EXPECT_EQ(files.config().sliding_window, 4096);
  EXPECT_EQ(files.config().attn_logit_softcapping, 50);
}

TEST(GgufFamilies, AWindowThatTheFamilyDoesNotHaveIsRefused) {
  TempFolder folder;
  GgufWriter gguf = tiny_gguf(tiny_config());
  gguf.add_integer("llama.attention.sliding_window", 64);
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", gguf.bytes())); },
               {"m.gguf", "llama.attention.sliding_window is 64", "llama models have no window"});
  GgufWriter values = tiny_gguf(tiny_config());
  values.add_integer("llama.attention.value_length", 16);
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", values.bytes())); },
               {"'llama.attention.value_length' is 16"});
}

TEST(GgufFamilies, RopeIsStretchedAsLlamaCppDoes) {
  auto rope = [](auto add) {
    TempFolder folder;
    GgufWriter gguf = tiny_gguf(tiny_config());
    add(gguf);
    return ModelFiles::open(folder.file("m.gguf", gguf.bytes())).config().rope.scaling;
  };
  const auto without_type = rope([](GgufWriter& g) { g.add_float("llama.rope.scaling.factor", 4); });
  EXPECT_EQ(without_type.type, "linear");
  EXPECT_EQ(without_type.factor, 4);
  const auto older = rope([](GgufWriter& g) { g.add_float("llama.rope.scale_linear", 2); });
  EXPECT_EQ(older.type, "linear");
  EXPECT_EQ(older.factor, 2);
  const auto none = rope([](GgufWriter& g) {
    g.add_text("llama.rope.scaling.type", "none");
    g.add_float("llama.rope.scaling.factor", 4);
  });
  EXPECT_EQ(none.type, "default");
  const auto yarn = rope([](GgufWriter& g) {
    g.add_text("llama.rope.scaling.type", "yarn");
    g.add_float("llama.rope.scaling.factor", 4);
    g.add_integer("llama.rope.scaling.original_context_length", 512);
  });
  EXPECT_EQ(yarn.type, "yarn");
  EXPECT_EQ(yarn.factor, 4);
  EXPECT_EQ(yarn.original_max_position_embeddings, 512);
}

}  // namespace
}  // namespace gavel
