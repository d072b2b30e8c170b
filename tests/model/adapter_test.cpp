// Adapters as PEFT writes them: what is honoured, and what is refused by name.
#include "model/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/random.h"
#include "io/safetensors.h"
#include "spec/family.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using AdapterJson = nlohmann::ordered_json;

constexpr int64_t kLayers = 3;

DecoderSpec three_layers() {
  ModelConfig c;
  c.vocab_size = 11;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.num_hidden_layers = kLayers;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 4;
  return decoder_spec(c);
}

/** A folder with what PEFT would write for a config; which linears have which rank is said by the test. */
class AdapterFolder : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    json_ = {{"peft_type", "LORA"}, {"task_type", "SEQ_CLS"},       {"r", 2},
             {"lora_alpha", 6},     {"target_modules", {"q_proj"}}, {"modules_to_save", {"classifier", "score"}}};
    put("base_model.model.score.weight", {3, 8});
  }
  void TearDown() override { fs::remove_all(folder_); }

  void put(const std::string& name, const Shape& shape) {
    HostTensor value(DType::kF32, shape);
    for (float& x : value.as_mutable<float>()) x = static_cast<float>(random_.uniform() - 0.5);
    tensors_.emplace_back(name, value);
  }

  /** A and B of one linear in one layer. */
  void put_branch(const std::string& path, int64_t layer, int64_t r, bool dora = false) {
    const std::string stem = fmt::format("base_model.model.model.layers.{}.{}.", layer, path);
    for (const LinearSpec* linear : spec_.blocks.front().linears()) {
      if (linear->path != path) continue;
      put(stem + "lora_A.weight", {r, linear->in_features()});
      put(stem + "lora_B.weight", {linear->out_features(), r});
      if (dora) put(stem + "lora_magnitude_vector", {linear->out_features()});
    }
  }

  void put_all(const std::string& path, int64_t r = 2) {
    for (int64_t layer = 0; layer < kLayers; ++layer) put_branch(path, layer, r);
  }

  LoadedAdapterWeights open(const ModelFiles* base = nullptr) {
    write_file(folder_ / "adapter_config.json", json_.dump());
    write_safetensors(folder_ / "adapter_model.safetensors", tensors_, {});
    return read_adapter(PeftConfig::read(folder_), spec_, 3, base);
  }

  std::string refusal() {
    try {
      open();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  /** scaling * B A of a linear in a layer as the file has it; empty where it has none. */
  std::vector<double> expected(const std::string& path, int64_t layer, double scaling) const {
    const std::string stem = fmt::format("base_model.model.model.layers.{}.{}.", layer, path);
    const HostTensor *a = find(stem + "lora_A.weight"), *b = find(stem + "lora_B.weight");
    if (a == nullptr) return {};
    return product(a->as<float>(), b->as<float>(), a->shape()[0], scaling);
  }

  /** The same of the opened adapter. */
  std::vector<double> found(const LoadedAdapterWeights& adapter, const std::string& name, int64_t layer) const {
    for (const auto& linear : trainable_layout(spec_, adapter.config.lora, 3).adapters) {
      if (linear.linear != name) continue;
      return product(of_layer(adapter.values[linear.a], layer), of_layer(adapter.values[linear.b], layer),
                     adapter.config.lora.r, adapter.config.lora.scaling());
    }
    return {};
  }

  void expect_same(const std::vector<double>& found, const std::vector<double>& expected) {
    ASSERT_FALSE(found.empty());
    if (expected.empty()) {
      for (double value : found) EXPECT_EQ(value, 0);
      return;
    }
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6);
  }

  const HostTensor* find(const std::string& name) const {
    for (const auto& [key, value] : tensors_)
      if (key == name) return &value;
    return nullptr;
  }

  static std::span<const float> of_layer(const HostTensor& stacked, int64_t layer) {
    const size_t size = stacked.as<float>().size() / kLayers;
    return stacked.as<float>().subspan(static_cast<size_t>(layer) * size, size);
  }

  static std::vector<double> product(std::span<const float> a, std::span<const float> b, int64_t rank, double scaling) {
    const auto r = static_cast<size_t>(rank), in = a.size() / r, out = b.size() / r;
    std::vector<double> whole(out * in);
    for (size_t o = 0; o < out; ++o)
      for (size_t i = 0; i < in; ++i)
        for (size_t k = 0; k < r; ++k) whole[o * in + i] += scaling * b[o * r + k] * a[k * in + i];
    return whole;
  }

  const DecoderSpec spec_ = three_layers();
  const fs::path folder_ = fs::temp_directory_path() / fmt::format("gavel_adapter_{}", ::getpid());
  AdapterJson json_;
  std::vector<std::pair<std::string, HostTensor>> tensors_;
  Random random_{5};
};

TEST_F(AdapterFolder, OneRankAndScalingAreKeptAsTheyAre) {
  put_all("self_attn.q_proj");
  json_["use_rslora"] = true;
  const LoadedAdapterWeights adapter = open();
  EXPECT_EQ(adapter.config.lora.r, 2);
  EXPECT_EQ(adapter.config.lora.lora_alpha, 6);
  EXPECT_TRUE(adapter.config.lora.use_rslora);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const HostTensor* b = find(fmt::format("base_model.model.model.layers.{}.self_attn.q_proj.lora_B.weight", layer));
    auto held = of_layer(adapter.values[1], layer);
    EXPECT_EQ(std::memcmp(held.data(), b->data(), b->bytes()), 0);
  }
}

TEST_F(AdapterFolder, PatternsOfRankAndAlphaCountByTheFirstThatMatches) {
  json_["target_modules"] = {"q_proj", "down_proj"};
  json_["rank_pattern"] = {{"q_proj", 4}, {"layers.0.self_attn.q_proj", 7}, {R"(layers\.1\.mlp\.down_proj)", 1}};
  json_["alpha_pattern"] = {{"mlp.down_proj", 3.5}};
  put_all("self_attn.q_proj", 4);
  for (int64_t layer = 0; layer < kLayers; ++layer) put_branch("mlp.down_proj", layer, layer == 1 ? 1 : 2);
  const LoadedAdapterWeights adapter = open();
  EXPECT_EQ(adapter.config.lora.r, 4);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    expect_same(found(adapter, "q_proj", layer), expected("self_attn.q_proj", layer, 6.0 / 4));
    expect_same(found(adapter, "down_proj", layer), expected("mlp.down_proj", layer, 3.5 / (layer == 1 ? 1 : 2)));
  }
}

TEST_F(AdapterFolder, RsloraScalesEachRankByItsOwnRoot) {
  json_["target_modules"] = {"q_proj", "v_proj"};
  json_["rank_pattern"] = {{"v_proj", 3}};
  json_["use_rslora"] = true;
  put_all("self_attn.q_proj", 2);
  put_all("self_attn.v_proj", 3);
  const LoadedAdapterWeights adapter = open();
  expect_same(found(adapter, "q_proj", 1), expected("self_attn.q_proj", 1, 6 / std::sqrt(2.0)));
  expect_same(found(adapter, "v_proj", 1), expected("self_attn.v_proj", 1, 6 / std::sqrt(3.0)));
}

/** The way a config says on which layers q_proj has an adapter. */
struct LayersCase {
  const char* name;
  const char* config;
  std::set<int64_t> layers;
};
class AdapterLayers : public AdapterFolder, public testing::WithParamInterface<LayersCase> {};

TEST_P(AdapterLayers, AreThoseThatPeftFinds) {
  json_.update(AdapterJson::parse(GetParam().config));
  for (int64_t layer : GetParam().layers) put_branch("self_attn.q_proj", layer, 2);
  const LoadedAdapterWeights adapter = open();
  for (int64_t layer = 0; layer < kLayers; ++layer)
    expect_same(found(adapter, "q_proj", layer), expected("self_attn.q_proj", layer, 3));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, AdapterLayers,
    testing::Values(
        LayersCase{"List", R"({"layers_to_transform": [0, 2]})", {0, 2}},
        LayersCase{"One", R"({"layers_to_transform": 1})", {1}},
        LayersCase{"EmptyList", R"({"layers_to_transform": []})", {0, 1, 2}},
        LayersCase{"LayersPattern", R"({"layers_to_transform": [1], "layers_pattern": "layers"})", {1}},
        LayersCase{"LayersPatterns", R"({"layers_to_transform": [1], "layers_pattern": ["h", "layers"]})", {1}},
        LayersCase{"WholeNames", R"({"target_modules": ["model.layers.0.self_attn.q_proj"]})", {0}},
        LayersCase{"EndsOfNames", R"({"target_modules": ["1.self_attn.q_proj", "no_such_module"]})", {1}},
        LayersCase{"Pattern", R"({"target_modules": ".*layers\\.[02]\\..*q_proj"})", {0, 2}},
        LayersCase{"PatternAboveLayers", R"({"target_modules": ".*q_proj", "layers_to_transform": [1]})", {0, 1, 2}},
        LayersCase{"NamedGroup", R"({"target_modules": "(?P<a>.*)\\.(?:q|x)_proj"})", {0, 1, 2}},
        LayersCase{"Excluded", R"({"exclude_modules": ["layers.1.self_attn.q_proj"]})", {0, 2}},
        LayersCase{"ExcludedByPattern", R"({"exclude_modules": ".*\\.[12]\\..*"})", {0}}),
    [](const auto& info) { return info.param.name; });

TEST_F(AdapterFolder, AllLinearIsAllSeven) {
  json_["target_modules"] = "all-linear";
  for (const LinearSpec* linear : spec_.blocks.front().linears()) put_all(linear->path);
  EXPECT_EQ(open().config.lora.target_modules.size(), 7u);
}

TEST_F(AdapterFolder, MagnitudesAreReadWithEitherName) {
  json_["use_dora"] = true;
  for (int64_t layer = 0; layer < kLayers; ++layer) put_branch("self_attn.q_proj", layer, 2, true);
  for (auto& [name, value] : tensors_)
    if (name.find("layers.1.") != std::string::npos && name.ends_with("vector")) name += ".weight";
  const LoadedAdapterWeights adapter = open();
  EXPECT_TRUE(adapter.config.lora.use_dora);
  const HostTensor* second = find("base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector.weight");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(std::memcmp(of_layer(adapter.values[2], 1).data(), second->data(), second->bytes()), 0);
}

TEST_F(AdapterFolder, WhatIsSavedIsReadBackTheSame) {
  json_["use_dora"] = true;
  for (int64_t layer = 0; layer < kLayers; ++layer) put_branch("self_attn.q_proj", layer, 2, true);
  const LoadedAdapterWeights adapter = open();
  fs::create_directories(folder_ / "again");
  save_adapter(folder_ / "again", spec_, adapter.config, adapter.values);
  const LoadedAdapterWeights again = read_adapter(PeftConfig::read(folder_ / "again"), spec_, 3);
  ASSERT_EQ(again.values.size(), adapter.values.size());
  for (size_t i = 0; i < again.values.size(); ++i)
    EXPECT_EQ(std::memcmp(again.values[i].data(), adapter.values[i].data(), adapter.values[i].bytes()), 0);
}

TEST_F(AdapterFolder, LayersWithoutAdaptersAreSavedWithout) {
  LoraConfig lora;
  lora.target_modules = {"q_proj", "down_proj"};
  lora.layers_to_transform = {1, 2};
  std::vector<HostTensor> values;
  for (const TrainableParameter& parameter : trainable_layout(spec_, lora, 3).parameters)
    values.push_back(initial_value(parameter, lora, 0.02, 3));
  auto is_zero = [](float value) { return value == 0; };
  const auto lowest = of_layer(values[0], 0), next = of_layer(values[0], 1);
  EXPECT_TRUE(std::all_of(lowest.begin(), lowest.end(), is_zero));
  EXPECT_TRUE(std::none_of(next.begin(), next.end(), is_zero));
  save_adapter(folder_, spec_, {lora, "base"}, values);
  // A, B of two linears in two layers, and the head.
  EXPECT_EQ(SafetensorsFile::open(folder_ / "adapter_model.safetensors")->tensors().size(), 9u);
  EXPECT_EQ(AdapterJson::parse(read_text(folder_ / "adapter_config.json"))["layers_to_transform"], AdapterJson({1, 2}));
  const LoadedAdapterWeights again = read_adapter(PeftConfig::read(folder_), spec_, 3);
  EXPECT_EQ(again.config.lora.layers_to_transform, lora.layers_to_transform);
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(std::memcmp(again.values[i].data(), values[i].data(), values[i].bytes()), 0) << i;
  lora.layers_to_transform = {3};
  EXPECT_THROW(trainable_layout(spec_, lora, 3), Error);
}

TEST_F(AdapterFolder, DoraOnSomeLayersNeedsTheBase) {
  json_["use_dora"] = true;
  json_["layers_to_transform"] = {1};
  put_branch("self_attn.q_proj", 1, 2, true);
  EXPECT_THAT(refusal(), HasSubstr("use_dora on a linear of some layers alone"));
}

TEST_F(AdapterFolder, ASecondCopyOfTheHeadIsPassedOver) {
  put_all("self_attn.q_proj");
  put("base_model.model.score.original_module.weight", {3, 8});
  EXPECT_EQ(refusal(), "no error");
}

TEST_F(AdapterFolder, WaysToBeginThatLeaveTheBaseOpen) {
  put_all("self_attn.q_proj");
  for (const AdapterJson& way : {AdapterJson(true), AdapterJson(false), AdapterJson(nullptr), AdapterJson("gaussian"),
                                 AdapterJson("eva"), AdapterJson("orthogonal"), AdapterJson("Gaussian")}) {
    json_["init_lora_weights"] = way;
    EXPECT_EQ(refusal(), "no error") << way;
  }
  for (const char* way : {"pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga", "unheard-of"}) {
    json_["init_lora_weights"] = way;
    EXPECT_THAT(refusal(), HasSubstr("such an adapter belongs to a changed base")) << way;
  }
}

TEST_F(AdapterFolder, KeysThatChangeTheFunctionAreRefusedByName) {
  put_all("self_attn.q_proj");
  const AdapterJson good = json_;
  for (const KnownKey& key : known_adapter_keys()) {
    if (key.use == KeyUse::kHonoured) continue;
    for (const AdapterJson& nothing :
         {AdapterJson(nullptr), AdapterJson(false), AdapterJson::object(), AdapterJson::array()}) {
      json_ = good;
      json_[std::string(key.name)] = nothing;
      EXPECT_EQ(refusal(), "no error") << key.name << " " << nothing;
    }
    json_ = good;
    json_[std::string(key.name)] = {{"some", 1}};
    if (key.use == KeyUse::kRefused)
      EXPECT_THAT(refusal(), HasSubstr(fmt::format("'{}' is an object", key.name)));
    else
      EXPECT_EQ(refusal(), "no error") << key.name;
  }
}

TEST_F(AdapterFolder, AKeyThatNobodyKnowsIsWarnedOf) {
  put_all("self_attn.q_proj");
  json_["use_newlora"] = true;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(refusal(), "no error");
  const std::string told = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, HasSubstr("'use_newlora' is no key that Gavel knows of; its value, true, has no effect here"));
}

TEST_F(AdapterFolder, OtherModulesAndHeadsAreRefusedWithTheirNames) {
  put_all("self_attn.q_proj");
  const AdapterJson good = json_;
  auto with = [&](const char* changes) {
    json_ = good;
    json_.update(AdapterJson::parse(changes));
    return refusal();
  };
  EXPECT_THAT(with(R"({"target_modules": ["q_proj", "score"]})"), HasSubstr("target_modules has 'score'"));
  EXPECT_THAT(with(R"({"target_modules": ["q_proj", "embed_tokens"]})"), HasSubstr("'model.embed_tokens'"));
  EXPECT_THAT(with(R"({"target_modules": ".*"})"), HasSubstr("which is no linear of a layer"));
  EXPECT_THAT(with(R"({"target_modules": ["c_attn"]})"),
              HasSubstr("names no linear of a llama layer, which has q_proj"));
  EXPECT_THAT(with(R"({"target_modules": []})"), HasSubstr("target_modules is missing or empty"));
  EXPECT_THAT(with(R"({"modules_to_save": ["score", "embed_tokens"]})"),
              HasSubstr("modules_to_save has 'model.embed_tokens'"));
  EXPECT_THAT(with(R"({"modules_to_save": ["norm", "score"]})"), HasSubstr("modules_to_save has 'model.norm'"));
  EXPECT_THAT(with(R"({"rank_pattern": {"q_proj": 0}})"), HasSubstr("rank_pattern has the rank 0"));
  EXPECT_THAT(with(R"({"rank_pattern": {"q_proj": "8"}})"), HasSubstr("must have a number for 'q_proj'"));
  EXPECT_THAT(with(R"({"rank_pattern": [1]})"), HasSubstr("'rank_pattern' must be an object"));
  EXPECT_THAT(with(R"({"target_modules": "q_proj("})"), HasSubstr("target_modules: the regular expression"));
  // An alternative that matches without the number behind it; PEFT ends in a TypeError.
  for (const char* pattern : {"|layers", "model|layers", "|"})
    EXPECT_THAT(
        with(fmt::format(R"({{"layers_to_transform": [1], "layers_pattern": "{}"}})", pattern).c_str()),
        HasSubstr("adapter_config.json: layers_pattern: expected a layer's number behind what it matches of model."))
        << pattern;
  EXPECT_THAT(with(R"({"peft_type": "IA3"})"), HasSubstr("peft_type is 'IA3', expected LORA"));
  EXPECT_THAT(with(R"({"r": 0})"), HasSubstr("r is 0, expected a positive rank"));
  EXPECT_THAT(with(R"({"r": 1000000000})"), HasSubstr("expected a positive rank up to 65536"));
  EXPECT_THAT(with(R"({"rank_pattern": {"q_proj": 1e300}})"),
              HasSubstr("expected a positive whole number up to 65536"));
  json_ = good;
  auto tensors = tensors_;
  tensors_[0].second = HostTensor(DType::kF32, {1, 8});
  EXPECT_THAT(
      refusal(),
      HasSubstr("has shape [1, 8] (one label: a reward model, opened with task=reward); this task's has [3, 8]"));
  tensors_.erase(tensors_.begin());
  json_["task_type"] = "CAUSAL_LM";
  EXPECT_THAT(refusal(),
              HasSubstr("'base_model.model.score.weight' is missing; task_type is 'CAUSAL_LM', a judge's is SEQ_CLS"));
  json_ = good;
  tensors_ = tensors;
  put("base_model.model.model.embed_tokens.weight", {12, 8});
  EXPECT_THAT(
      refusal(),
      HasSubstr("it holds 'base_model.model.model.embed_tokens.weight' [12, 8], in place of the base's [11, 8]"));
  tensors_ = tensors;
  put("base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias", {8});
  EXPECT_THAT(refusal(), HasSubstr("has no place in this base model"));
  tensors_ = tensors;
  for (auto& [name, value] : tensors_) name.replace(0, 17, "base_model.model._orig_mod.");
  EXPECT_THAT(refusal(), HasSubstr("a name that PEFT does not write: save it again without the wrapper"));
  tensors_ = tensors;
  open();
  fs::rename(folder_ / "adapter_model.safetensors", folder_ / "adapter_model.bin");
  try {
    read_adapter(PeftConfig::read(folder_), spec_, 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("only adapter_model.bin is there, a pickle that could run code"));
  }
}

/** The table of docs/models.md. */
std::string keys_table() {
  std::string out = "| key of `adapter_config.json` | here |\n|---|---|\n";
  for (const KnownKey& key : known_adapter_keys()) {
    const char* use = key.use == KeyUse::kHonoured        ? "honoured"
                      : key.use == KeyUse::kWithoutEffect ? "without effect"
                                                          : "refused";
    out += fmt::format("| `{}` | {}{}{} |\n", key.name, use, key.note.empty() ? "" : ": ", key.note);
  }
  return out;
}

TEST(ModelsPage, SaysWhatBecomesOfEachKeyOfAnAdapter) {
  const std::string page = read_text(fs::path(GAVEL_SOURCE_DIR) / "docs/models.md");
  EXPECT_NE(page.find(keys_table()), std::string::npos) << "docs/models.md should have this table:\n" << keys_table();
}

}  // namespace
}  // namespace gavel
