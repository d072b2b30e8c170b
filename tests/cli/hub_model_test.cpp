// A model named as the Hugging Face hub has it, through the commands: what fetches it, and what must not.
#include <gmock/gmock.h>

#include <fstream>

#include "base/loopback.h"
#include "base/scoped_variable.h"
#include "cli/cli_fixture.h"
#include "hub/local_hub.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class HubModel : public Cli {
 protected:
  void SetUp() override {
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
    Cli::SetUp();
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
      hub_.files[name] = read_text(model() / name);
    fs::remove_all(model());
    endpoint_.emplace("HF_ENDPOINT", hub_.hub.address());
    cache_.emplace("HF_HUB_CACHE", cache().string());
  }
  fs::path cache() const { return file("hub"); }
  size_t asked() const { return hub_.hub.requests().size(); }
  int train(std::vector<std::string> settings = {}) const {
    settings.insert(settings.begin(),
                    {"train", file("recipe.yaml").string(), "model.path=tiny/judge", "train.max_steps=1"});
    return run(settings);
  }

  LocalHub hub_;
  const ScopedVariable no_proxy_{"no_proxy", "127.0.0.1"}, offline_{"HF_HUB_OFFLINE", ""};
  std::optional<ScopedVariable> endpoint_, cache_;
};

TEST_F(HubModel, TrainingFetchesAndJudgingDoesNot) {
  ASSERT_EQ(train({"model.path=tiny/judge@refs/pr/1"}), 0);
  EXPECT_EQ(asked(), 4u);  // the account and three files
  const std::string adapter = "--adapter=" + file("run").string(), data = "--data=" + file("test.csv").string();
  EXPECT_EQ(run({"predict", adapter, data, "--out=" + file("a.csv").string()}), 0);
  EXPECT_EQ(asked(), 4u);
  // PEFT is told what it would look for.
  const std::string config = read_text(file("run") / "adapter_config.json");
  EXPECT_THAT(config,
              AllOf(HasSubstr(R"("base_model_name_or_path": "tiny/judge")"), HasSubstr(R"("revision": "refs/pr/1")")));

  // The name is the adapter's, perhaps a stranger's.
  fs::remove_all(cache());
  const std::vector<std::string> predict = {"predict", adapter, data, "--out=" + file("b.csv").string(), "--overwrite"};
  const auto how_to_fetch = AllOf(HasSubstr("its base model is tiny/judge@refs/pr/1: it is no file or folder here"),
                                  HasSubstr("gavel doctor --fetch tiny/judge@refs/pr/1"), HasSubstr("--model"));
  EXPECT_THAT(error_of(predict), how_to_fetch);
  // The same without a recipe of its own, as PEFT leaves adapters.
  fs::remove(file("run") / "recipe.yaml");
  EXPECT_THAT(error_of(predict), how_to_fetch);
  EXPECT_EQ(asked(), 4u);
  EXPECT_FALSE(fs::exists(cache()));
  // What the caller names is fetched.
  std::vector<std::string> named = predict;
  named.emplace_back("--model=tiny/judge");
  EXPECT_EQ(run(named), 0);
  EXPECT_EQ(asked(), 8u);
  // And is then found under the adapter's own name of it, whatever main is.
  EXPECT_THAT(error_of(predict), how_to_fetch);
  EXPECT_EQ(run({"doctor", "--fetch", "tiny/judge@refs/pr/1"}), 0);
  EXPECT_EQ(asked(), 9u);  // the files are there
  EXPECT_EQ(run(predict), 0);
}

TEST_F(HubModel, IsToldBeforeAnythingLong) {
  const ScopedVariable offline("HF_HUB_OFFLINE", "1");
  EXPECT_THAT(
      error_of({"train", file("recipe.yaml").string(), "model.path=tiny/judge", "data.train=none.csv"}),
      AllOf(HasSubstr("model.path: tiny/judge: "), HasSubstr("HF_HUB_OFFLINE"), HasSubstr("data.train: none.csv")));
  EXPECT_EQ(asked(), 0u);
}

TEST_F(HubModel, PlansAndLooksAtDataTakeNoWeightsAndANamedShapeNothing) {
  const std::string recipe = file("recipe.yaml").string();
  EXPECT_EQ(run({"plan", recipe, "model.path=somebody/Llama-3.2-1B-tuned", "data.max_length=16", "train.batch_size=1",
                 "--no-remedies", "lora.target_modules=[o_proj]", "--target=cpu"}),
            0);
  EXPECT_EQ(asked(), 0u);
  EXPECT_EQ(run({"plan", recipe, "model.path=tiny/judge", "--no-remedies"}), 0);
  EXPECT_EQ(asked(), 3u);  // the account, the config, the tokenizer
  fs::remove_all(cache());
  EXPECT_EQ(run({"data", file("train.csv").string(), "--model=tiny/judge"}), 0);
  EXPECT_EQ(asked(), 6u);
  EXPECT_TRUE(hub_.store.requests().empty());
}

}  // namespace
}  // namespace gavel
