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

TEST(Family, UnknownOnesAreNamed) {
  EXPECT_THROW(family_of("gpt2", "config.json"), Error);
  EXPECT_THROW(family_of_gguf("", "m.gguf"), Error);
}

}  // namespace
}  // namespace gavel
