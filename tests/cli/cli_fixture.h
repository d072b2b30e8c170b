#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/run_cli.h"
#include "sample/sample.h"
#include "setup/test_support.h"
#include "setup/tiny_tokenizer.h"

namespace gavel {

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy(std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/train/golden", model(),
                          std::filesystem::copy_options::recursive);
    write_file(model() / "tokenizer.json", tiny_tokenizer());
    make_sample(file("train.csv"), file("test.csv"), 48, 12, 1);
    write_file(file("recipe.yaml"), fmt::format(R"(model: {{path: {}, dtype: float32}}
lora: {{r: 2, lora_alpha: 4, target_modules: [o_proj, v_proj]}}
data: {{train: {}, valid: {}, max_length: 48, batching: bucketed}}
train: {{epochs: 1, batch_size: 8, warmup_steps: 1, learning_rate: 0.01, log_every: 2}}
output: {}
)",
                                                model().string(), file("train.csv").string(), file("test.csv").string(),
                                                file("run").string()));
  }

  std::filesystem::path file(const std::string& name) const { return scratch_.path() / name; }
  std::filesystem::path model() const { return file("model"); }

  int run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"gavel", "--quiet"});
    std::vector<const char*> pointers;
    for (const auto& argument : arguments) pointers.push_back(argument.c_str());
    return run_cli(static_cast<int>(pointers.size()), pointers.data());
  }
  /** The message of the error that running these arguments prints. */
  std::string error_of(const std::vector<std::string>& arguments) const {
    testing::internal::CaptureStderr();
    int status = run(arguments);
    std::string text = testing::internal::GetCapturedStderr();
    EXPECT_NE(status, 0) << text;
    return text;
  }
  std::string train_error(const std::vector<std::string>& settings) const {
    std::vector<std::string> arguments = {"train", file("recipe.yaml").string()};
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    std::string text = error_of(arguments);
    EXPECT_FALSE(std::filesystem::exists(file("run") / "adapter_model.safetensors"));
    return text;
  }

  TempFolder scratch_{"gavel_cli_test"};
};

}  // namespace gavel
