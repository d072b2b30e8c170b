#include "spec/family.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace gavel {
namespace {

using testing::ElementsAre;

ModelConfig small(const std::string& model_type) {
  ModelConfig config;
  config.model_type = model_type;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  return config;
}

TEST(Family, EveryTensorSaysWhatItIs) {
  for (const Family& family : families()) {
    ModelConfig config = small(std::string(family.model_type));
    config.attention_bias = config.mlp_bias = true;
    const DecoderSpec spec = decoder_spec(config);
    std::set<std::string> names, gguf_names;
    for (const auto& tensor : spec.base_tensors()) {
      EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
      EXPECT_TRUE(gguf_names.insert(tensor.gguf_name).second) << tensor.gguf_name;
      EXPECT_EQ(tensor.spec.dimensions.size(), tensor.spec.shape.size()) << tensor.name;
      EXPECT_EQ(tensor.name.find('*'), std::string::npos) << tensor.name;
      EXPECT_TRUE(tensor.name.starts_with(kBasePrefix)) << tensor.name;
    }
    for (const BlockSpec& block : spec.blocks) {
      EXPECT_LT(block.attention.rope, spec.ropes.size());
      EXPECT_EQ(block.tensors().size(), spec.blocks.front().tensors().size());
    }
  }
}

TEST(Family, ALlamaIsDescribedAsItsFilesHoldIt) {
  const DecoderSpec spec = decoder_spec(small("llama"));
  EXPECT_THAT(spec.linear_names(),
              ElementsAre("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"));
  EXPECT_EQ(spec.base_tensors().size(), 2u + 3 * 9);
  const AttentionSpec& attention = spec.block(2).attention;
  EXPECT_EQ(attention.q_proj.weight.gguf_name, "blk.*.attn_q.weight");
  EXPECT_EQ(attention.q_proj.weight.gguf_rows, GgufRows::kRotaryPairs);
  EXPECT_EQ(attention.v_proj.weight.gguf_rows, GgufRows::kSame);
  EXPECT_EQ(attention.k_proj.weight.shape, (Shape{16, 32}));
  EXPECT_FALSE(attention.sliding_window);
  EXPECT_DOUBLE_EQ(attention.scale * attention.scale * 8, 1);
}

TEST(Family, AMistralsWindowIsReadAndWritten) {
  const std::string sizes =
      R"("vocab_size":50,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":3,"num_attention_heads":4)";
  auto parse = [&](const std::string& more) {
    return ModelConfig::from_json(R"({"model_type":"mistral",)" + sizes + more + "}", "config.json");
  };
  const std::string kv = R"(,"num_key_value_heads":2)";
  EXPECT_EQ(parse(kv + R"(,"sliding_window":7)").sliding_window, 7);
  EXPECT_FALSE(parse(kv + R"(,"sliding_window":null)").sliding_window);
  EXPECT_EQ(parse(kv).sliding_window, 4096) << "transformers' default";
  EXPECT_EQ(*decoder_spec(parse(kv + R"(,"sliding_window":7)")).block(1).attention.sliding_window, 7);
  for (const char* window : {"7", "null"}) {
    const std::string text = parse(kv + fmt::format(R"(,"sliding_window":{})", window)).to_json(3, "float32");
    EXPECT_EQ(ModelConfig::from_json(text, "again").to_json(3, "float32"), text);
  }
  EXPECT_THROW(parse(kv + R"(,"sliding_window":0)"), Error);
  EXPECT_THROW(parse(""), Error) << "no num_key_value_heads";
}

/** The members of a right config.json of any family, and `more`. */
ModelConfig read(const std::string& model_type, const std::string& more) {
  return ModelConfig::from_json(
      fmt::format(
          R"({{"model_type":"{}","vocab_size":50,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":7,)"
          R"("num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64{}}})",
          model_type, more),
      "config.json");
}

std::string windows(const ModelConfig& config) {
  const DecoderSpec spec = decoder_spec(config);
  std::string out;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    out += spec.block(layer).attention.sliding_window ? 'w' : '-';
  return out;
}

TEST(Family, WindowsByLayerAreThoseOfTransformers) {
  EXPECT_EQ(windows(read("qwen2", "")), "-------");
  EXPECT_EQ(windows(read("qwen2", R"(,"use_sliding_window":true,"max_window_layers":3)")), "---wwww");
  EXPECT_EQ(windows(read("qwen2", R"(,"use_sliding_window":true,"sliding_window":null,"max_window_layers":3)")),
            "-------");
  const std::string listed =
      R"(,"layer_types":["sliding_attention","full_attention","full_attention","sliding_attention",)"
      R"("full_attention","full_attention","sliding_attention"])";
  EXPECT_EQ(windows(read("qwen3", R"(,"use_sliding_window":true,"max_window_layers":3)" + listed)), "w--w--w");
  EXPECT_EQ(decoder_spec(read("qwen3", R"(,"use_sliding_window":true)" + listed)).blocks.size(), 3u);
  EXPECT_THROW(read("qwen3", listed), Error) << "sliding layers, and no window";
  EXPECT_THROW(read("qwen3", R"(,"layer_types":["full_attention"])"), Error);
  EXPECT_THROW(read("gemma2", R"(,"layer_types":["chunked_attention"])"), Error);
  EXPECT_EQ(windows(read("gemma2", "")), "w-w-w-w");
  EXPECT_EQ(windows(read("gemma3_text", "")), "wwwww-w");
  EXPECT_EQ(windows(read("gemma3_text", R"(,"sliding_window_pattern":3)")), "ww-ww-w");
  EXPECT_EQ(windows(read("gemma2", listed)), "w--w--w");
  EXPECT_EQ(windows(read("mistral", "")), "wwwwwww");
}

TEST(Family, AGemmaIsReadWithTransformersDefaults) {
  const ModelConfig two = read("gemma2", "");
  const DecoderSpec spec = decoder_spec(two);
  EXPECT_EQ(two.head_dim, 256);
  EXPECT_TRUE(two.tie_word_embeddings);
  EXPECT_DOUBLE_EQ(spec.block(0).attention.scale, 1.0 / 16);
  EXPECT_EQ(spec.block(0).attention.logit_softcapping, 50);
  EXPECT_EQ(spec.block(0).attention.sliding_window, 4096);
  EXPECT_EQ(spec.norm.offset, 1);
  EXPECT_DOUBLE_EQ(spec.embedding_scale * spec.embedding_scale, 32);
  EXPECT_EQ(spec.block(0).feed_forward.activation, Activation::kGeluTanh);
  EXPECT_FALSE(read("gemma2", R"(,"attn_logit_softcapping":null)").attn_logit_softcapping);
  const ModelConfig three = read("gemma3_text", R"(,"rope_theta":5e5,"rope_scaling":{"type":"linear","factor":8})");
  EXPECT_FALSE(three.attn_logit_softcapping);
  EXPECT_FALSE(read("gemma3_text", R"(,"attn_logit_softcapping":2.0)").attn_logit_softcapping) << "as transformers";
  EXPECT_EQ(three.rope.rope_theta, 5e5);
  EXPECT_EQ(three.rope.scaling.factor, 8);
  EXPECT_EQ(three.sliding_rope->rope_theta, 1e4);
  EXPECT_EQ(three.sliding_rope->scaling.type, "default");
  EXPECT_EQ(read("gemma3_text", "").rope.rope_theta, 1e6);
  EXPECT_EQ(read("gemma3_text", R"(,"rope_local_base_freq":20)").sliding_rope->rope_theta, 20);
  const DecoderSpec local = decoder_spec(three);
  EXPECT_EQ(local.ropes.size(), 2u);
  EXPECT_EQ(local.block(0).attention.rope, 1u);
  EXPECT_EQ(local.block(5).attention.rope, 0u);
  EXPECT_EQ(local.block(0).attention.q_norm.front().shape, (Shape{256}));
  EXPECT_THROW(read("gemma3_text", R"(,"use_bidirectional_attention":true)"), Error);
  EXPECT_THROW(read("gemma3_text", R"(,"rope_parameters":{"rope_type":"default"})"), Error);
  EXPECT_THROW(read("gemma2", R"(,"hidden_activation":"gelu")"), Error);
}

TEST(Family, SmolLm3HasLayersWithoutPositions) {
  auto turned = [](const std::string& more) {
    const ModelConfig config = read("smollm3", more);
    const DecoderSpec spec = decoder_spec(config);
    std::string out;
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
      out += inverse_frequencies(spec.ropes[spec.block(layer).attention.rope], 8)[0] == 0 ? '0' : '1';
    return out;
  };
  EXPECT_EQ(turned(""), "1110111");
  EXPECT_EQ(turned(R"(,"no_rope_layer_interval":2)"), "1010101");
  EXPECT_EQ(turned(R"(,"no_rope_layers":[0,1,1,1,1,1,1,0,0])"), "0111111") << "as many as there are layers";
  EXPECT_EQ(windows(read("smollm3", R"(,"use_sliding_window":true,"sliding_window":9)")), "---w---");
  EXPECT_EQ(decoder_spec(read("smollm3", "")).blocks.size(), 4u);
  EXPECT_EQ(read("smollm3", "").rope.rope_theta, 2e6);
  EXPECT_THROW(read("smollm3", R"(,"no_rope_layers":[1])"), Error);
}

TEST(Family, WrittenConfigsOfAllFamiliesReadBack) {
  for (const Family& family : families()) {
    for (const char* more : {"", R"(,"use_sliding_window":true,"sliding_window":5,"max_window_layers":2)"}) {
      const std::string text = read(std::string(family.model_type), more).to_json(3, "float32");
      EXPECT_EQ(ModelConfig::from_json(text, "again").to_json(3, "float32"), text);
    }
  }
}

TEST(Family, UnknownOnesAreNamed) {
  EXPECT_THROW(family_of("gpt2", "config.json"), Error);
  EXPECT_THROW(family_of_gguf("", "m.gguf"), Error);
}

}  // namespace
}  // namespace gavel
