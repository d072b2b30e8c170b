#include "spec/model_config.h"

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "io/expect_error.h"
#include "spec/family.h"
#include "spec/known_keys.h"

namespace gavel {
namespace {

/** A right config.json's members, some of them replaced or added, or left out where the new text is empty. */
ModelConfig parse(const std::map<std::string, std::string>& changes) {
  std::map<std::string, std::string> keys = {{"vocab_size", "20"},         {"hidden_size", "32"},
                                             {"intermediate_size", "48"},  {"num_hidden_layers", "2"},
                                             {"num_attention_heads", "4"}, {"num_key_value_heads", "2"},
                                             {"model_type", "\"llama\""},  {"rms_norm_eps", "1e-5"}};
  for (const auto& [key, value] : changes) keys[key] = value;
  std::string text = "{";
  for (const auto& [key, value] : keys)
    if (!value.empty()) text += fmt::format("{}\"{}\":{}", text.size() > 1 ? "," : "", key, value);
  return ModelConfig::from_json(text + "}", "folder/config.json");
}

void expect_bad(const std::map<std::string, std::string>& changes, const std::vector<std::string>& parts) {
  auto all = parts;
  all.push_back("folder/config.json");
  expect_error([&] { parse(changes); }, all);
}

TEST(ModelConfig, DefaultsAreThoseOfTransformers) {
  ModelConfig c = parse({{"num_key_value_heads", ""}, {"rms_norm_eps", ""}, {"model_type", ""}});
  EXPECT_EQ(c.num_key_value_heads, 4);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.rope.rope_theta, 10000);
  EXPECT_EQ(c.rope.scaling.type, "default");
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_FALSE(c.pad_token_id);
  EXPECT_EQ(parse({{"eos_token_id", "[5,6]"}}).eos_token_id, 5);
}

TEST(ModelConfig, KeysThatChangeNumbersAreHonouredOrRefused) {
  for (const auto& [key, harmless, refused] : std::initializer_list<std::array<std::string, 3>>{
           {"is_causal", "true", "false"},
           {"partial_rotary_factor", "1.0", "0.5"},
           {"num_experts", "0", "8"},
           {"per_layer_config", "{}", R"({"0":{"rms_norm_eps":1}})"},
           {"transformers_weights", "\"model.safetensors\"", "\"other.safetensors\""},
           {"quantization_config", "{}", R"({"quant_method":"gptq"})"}}) {
    EXPECT_TRUE(parse({{key, harmless}}).unknown_keys.empty()) << key;
    EXPECT_TRUE(parse({{key, "null"}}).unknown_keys.empty()) << key;
    expect_bad({{key, refused}}, {"'" + key + "'"});
  }
  expect_bad({{"model_type", "\"gemma2\""}, {"use_bidirectional_attention", "true"}},
             {"'use_bidirectional_attention'"});
  for (const char* key : {"attention_dropout", "pretraining_tp", "temperature", "classifier_dropout", "id2label"})
    EXPECT_TRUE(parse({{key, "7"}}).unknown_keys.empty()) << key;
  const auto odd = parse({{"a_new_scale", "2"}, {"a_flag", "false"}, {"nothing", "null"}, {"max_window_layers", "3"}});
  EXPECT_EQ(odd.unknown_keys, (std::vector<std::string>{"a_new_scale", "max_window_layers"}))
      << "a Llama has no windows";
  EXPECT_TRUE(parse({{"model_type", "\"qwen2\""}, {"max_window_layers", "3"}}).unknown_keys.empty());
  for (const Family& family : families()) {
    const auto own = parse({{"model_type", fmt::format("\"{}\"", family.model_type)}, {"head_dim", "8"}});
    EXPECT_TRUE(ModelConfig::from_json(own.to_json(3, "float32"), "own").unknown_keys.empty()) << family.model_type;
  }
}

TEST(ModelConfig, ActivationsMayHaveTheirOtherNames) {
  EXPECT_NO_THROW(parse({{"hidden_act", "\"swish\""}}));
  expect_bad({{"hidden_act", "\"gelu_new\""}}, {"hidden_act is 'gelu_new'"});
  const std::map<std::string, std::string> gemma = {{"model_type", "\"gemma2\""}, {"head_dim", "8"}};
  for (const char* name : {"gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh"}) {
    auto keys = gemma;
    keys["hidden_activation"] = fmt::format("\"{}\"", name);
    EXPECT_NO_THROW(parse(keys)) << name;
  }
  auto exact = gemma;
  exact["hidden_activation"] = "\"gelu\"";
  expect_bad(exact, {"hidden_activation is 'gelu'"});
}

TEST(ModelConfig, EveryKeyOfTheListStandsThereOnceForAFamily) {
  for (auto keys : {known_config_keys(), known_gguf_keys()})
    for (size_t i = 0; i < keys.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (keys[i].name == keys[j].name) {
          EXPECT_FALSE(keys[i].families.empty() || keys[j].families.empty()) << keys[i].name;
          for (const Family& family : families())
            EXPECT_FALSE((" " + std::string(keys[i].families) + " ").find(fmt::format(" {} ", family.model_type)) !=
                             std::string::npos &&
                         (" " + std::string(keys[j].families) + " ").find(fmt::format(" {} ", family.model_type)) !=
                             std::string::npos)
                << keys[i].name;
        }
}

TEST(ModelConfig, BothSpellingsOfRope) {
  const std::string llama3 =
      R"("factor":32,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192)";
  ModelConfig older = parse({{"rope_theta", "500000"}, {"rope_scaling", "{\"rope_type\":\"llama3\"," + llama3 + "}"}});
  ModelConfig newer = parse({{"rope_parameters", "{\"rope_theta\":500000,\"rope_type\":\"llama3\"," + llama3 + "}"}});
  EXPECT_EQ(older.to_json(3, "float32"), newer.to_json(3, "float32"));
  EXPECT_EQ(newer.rope.rope_theta, 500000);
  EXPECT_EQ(newer.rope.scaling.type, "llama3");
  EXPECT_EQ(newer.rope.scaling.factor, 32);
  EXPECT_EQ(parse({{"rope_scaling", R"({"type":"linear","factor":2})"}}).rope.scaling.type, "linear");
  EXPECT_EQ(parse({{"rope_scaling", "null"}}).rope.scaling.type, "default");
}

TEST(ModelConfig, RopeIsReadInTransformersOrder) {
  const std::string linear = R"({"rope_type":"linear","factor":2})", four = R"({"rope_type":"linear","factor":4})";
  EXPECT_EQ(parse({{"rope_scaling", linear}, {"rope_parameters", four}}).rope.scaling.factor, 2);
  EXPECT_EQ(parse({{"rope_scaling", "{}"}, {"rope_parameters", four}}).rope.scaling.factor, 4);
  const std::string theta = R"({"rope_type":"default","rope_theta":77})";
  EXPECT_EQ(parse({{"rope_theta", "55"}, {"rope_parameters", linear}}).rope.rope_theta, 55);
  EXPECT_EQ(parse({{"rope_theta", "55"}, {"rope_parameters", theta}}).rope.rope_theta, 77);
  EXPECT_EQ(parse({{"rope_theta", "null"}, {"rope_parameters", theta}}).rope.rope_theta, 77);
  expect_bad({{"rope_theta", "null"}}, {"'rope_theta' is null"});
  // Where the first length is not said, it is the model's; at top level it comes first.
  const std::string llama3 = R"({"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4})";
  auto original = [](const ModelConfig& c) { return c.rope.scaling.original_max_position_embeddings; };
  EXPECT_EQ(original(parse({{"rope_scaling", llama3}, {"max_position_embeddings", "640"}})), 640);
  EXPECT_EQ(original(parse({{"rope_scaling", R"({"type":"yarn","factor":2,"original_max_position_embeddings":32})"},
                            {"original_max_position_embeddings", "48"},
                            {"max_position_embeddings", "640"}})),
            48);
  EXPECT_EQ(parse({{"rope_scaling", R"({"type":"yarn","original_max_position_embeddings":32})"},
                   {"max_position_embeddings", "128"}})
                .rope.scaling.factor,
            4);
}

TEST(ModelConfig, BadKeysAreNamed) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    expect_bad({{key, ""}}, {fmt::format("key '{}' is missing", key)});
    expect_bad({{key, "\"7\""}}, {fmt::format("key '{}' must be a whole number, found \"7\"", key)});
    expect_bad({{key, "1.5"}}, {key, "found 1.5"});
    expect_bad({{key, "0"}}, {fmt::format("'{}' is 0, expected a positive number", key)});
    expect_bad({{key, "-3"}}, {fmt::format("'{}' is -3", key)});
    expect_bad({{key, "18446744073709551615"}}, {key, "too large"});
    expect_bad({{key, "99999999999"}}, {key});
  }
  expect_bad({{"num_hidden_layers", "2000000000"}}, {"'num_hidden_layers' is 2000000000, at most"});
  expect_bad({{"num_key_value_heads", "3"}}, {"num_attention_heads 4 is not a multiple of num_key_value_heads 3"});
  expect_bad({{"head_dim", "7"}}, {"head_dim is 7, expected an even number"});
  expect_bad({{"model_type", "\"gpt2\""}},
             {"model_type is 'gpt2'; only llama, mistral, qwen2, qwen3, gemma2, gemma3_text, smollm3 models"});
  expect_bad({{"hidden_act", "\"gelu\""}}, {"hidden_act is 'gelu'"});
  expect_bad({{"rms_norm_eps", "\"x\""}}, {"key 'rms_norm_eps' must be a number"});
  expect_bad({{"rms_norm_eps", "-1"}}, {"rms_norm_eps is -1"});
  expect_bad({{"rope_theta", "0"}}, {"rope 'rope_theta' is 0, expected a positive number"});
  expect_bad({{"tie_word_embeddings", "1"}}, {"key 'tie_word_embeddings' must be true or false"});
  expect_bad({{"eos_token_id", "[]"}}, {"key 'eos_token_id' must be a token id"});
  expect_bad({{"rope_scaling", "3"}}, {"key 'rope_scaling' must be an object"});
  expect_bad({{"rope_scaling", R"({"type":"su","factor":2})"}}, {"rope_scaling", "rope type 'su'", "longrope"});
  expect_bad({{"rope_scaling", R"({"type":"yarn","factor":2})"}}, {"key 'max_position_embeddings' is missing"});
  expect_bad({{"rope_scaling", R"({"type":"dynamic","factor":2})"}}, {"key 'max_position_embeddings' is missing"});
  expect_bad({{"rope_parameters", R"({"full_attention":{"rope_type":"default"}})"}}, {"ropes by kind of layer"});
  expect_bad({{"partial_rotary_factor", "0.5"}}, {"'partial_rotary_factor' is 0.5"});
  expect_bad({{"rope_scaling", R"({"type":"linear","factor":2,"partial_rotary_factor":0.5})"}},
             {"'partial_rotary_factor' is 0.5"});
  expect_bad({{"rope_scaling", R"({"type":"longrope","short_factor":[1,1,1,1],"long_factor":[1,1,1],"factor":2})"},
              {"max_position_embeddings", "64"}},
             {"rope 'long_factor' has 3 numbers, head_dim 8 calls for 4"});
  expect_bad({{"rope_scaling", R"({"type":"longrope","short_factor":[1,"2",1,1],"long_factor":[],"factor":2})"},
              {"max_position_embeddings", "64"}},
             {"key 'short_factor' has \"2\" at 1, expected numbers"});
  expect_bad({{"rope_scaling", R"({"type":"linear"})"}}, {"key 'factor' is missing"});
  expect_bad({{"rope_scaling", R"({"type":"linear","factor":0})"}}, {"rope 'factor' is 0, expected a positive number"});
  expect_bad(
      {{"rope_scaling",
        R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":64})"}},
      {"low_freq_factor 4 must be positive and below high_freq_factor 4"});
  expect_error([] { ModelConfig::from_json("{", "c.json"); }, {"c.json: not valid JSON"});
  expect_error([] { ModelConfig::from_json("[]", "c.json"); }, {"c.json: expected a JSON object"});
  std::string deep(200000, '[');
  expect_bad({{"vocab_size", deep + std::string(200000, ']')}}, {"expected JSON of at most 256 levels"});
  expect_bad({{"vocab_size", std::string(200, '[') + std::string(200, ']')}}, {"vocab_size", "found a list"});
}

TEST(ModelConfig, WrittenConfigsReadBack) {
  for (
      const char* rope :
      {"", R"({"type":"linear","factor":2.5})", R"({"type":"dynamic","factor":2})",
       R"({"type":"yarn","factor":4,"original_max_position_embeddings":64,"beta_fast":20,"mscale":1,"truncate":false})",
       R"({"type":"longrope","short_factor":[1,1,1,1,2,2,2,2],"long_factor":[1,2,3,4,5,6,7,8.5],"attention_factor":1.5})",
       R"({"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64})"}) {
    ModelConfig c = parse({{"rope_scaling", rope},
                           {"head_dim", "16"},
                           {"attention_bias", "true"},
                           {"tie_word_embeddings", "true"},
                           {"bos_token_id", "1"},
                           {"pad_token_id", "3"},
                           {"rope_theta", "123456.5"},
                           {"max_position_embeddings", "4096"}});
    std::string text = c.to_json(3, "bfloat16");
    ModelConfig back = ModelConfig::from_json(text, "written");
    EXPECT_EQ(back.to_json(3, "bfloat16"), text);
    EXPECT_EQ(back.head_dim, 16);
    EXPECT_TRUE(back.attention_bias);
    EXPECT_EQ(back.pad_token_id, 3);
    EXPECT_FALSE(back.eos_token_id);
    EXPECT_EQ(back.rope.rope_theta, 123456.5);
    EXPECT_EQ(back.rope.scaling.type, c.rope.scaling.type);
    EXPECT_EQ(back.rope.scaling.factor, c.rope.scaling.factor);
  }
}

TEST(ModelConfig, BuiltInShapes) {
  for (const auto& name : built_in_shapes()) EXPECT_NO_THROW(built_in_shape(name).check(name));
  EXPECT_EQ(built_in_shape("llama-3-8b").num_key_value_heads, 8);
  expect_error([] { built_in_shape("lama-3-8b"); }, {"'lama-3-8b' is no built-in shape", "'llama-3-8b'"});
}

}  // namespace
}  // namespace gavel
