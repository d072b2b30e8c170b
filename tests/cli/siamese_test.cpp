// A judge that reads each answer by itself (judge.form: siamese), from its training to its answers.
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli_fixture.h"
#include "judge/judge.h"

namespace gavel {
namespace {

using testing::HasSubstr;

class SiameseCommands : public Cli {
 protected:
  std::vector<std::string> arguments(const std::string& name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> out = {"train",
                                    file("recipe.yaml").string(),
                                    "judge.form=siamese",
                                    "data.batching=packed",
                                    "output=" + file(name).string(),
                                    "train.max_steps=4"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  std::vector<Verdict> verdicts(const std::string& name) const {
    PreferenceRow row, exchanged;
    row.prompt = exchanged.prompt = {"why so?"};
    row.response_a = exchanged.response_b = {"one answer"};
    row.response_b = exchanged.response_a = {"another of them"};
    Judge judge(JudgeOptions{file(name).string(), std::nullopt, {"model.compute_dtype=float32"}});
    return judge.judge(std::vector<PreferenceRow>{row, exchanged}, 1.0);
  }
};

TEST_F(SiameseCommands, ExchangingTheAnswersExchangesTheVerdict) {
  ASSERT_EQ(run(arguments("siamese")), 0);
  const std::vector<Verdict> found = verdicts("siamese");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NEAR(found[0].probabilities[0], found[1].probabilities[1], 1e-5);
  EXPECT_NEAR(found[0].probabilities[1], found[1].probabilities[0], 1e-5);
  EXPECT_NEAR(found[0].probabilities[2], found[1].probabilities[2], 1e-5);
  EXPECT_GT(std::abs(found[0].probabilities[0] - found[0].probabilities[1]), 1e-4);
  EXPECT_FALSE(found[0].rewards.has_value());
  EXPECT_FALSE(found[0].swapped_logits.has_value());
}

/** With zeros all outcomes are as likely, and the head learns from there. */
TEST_F(SiameseCommands, AHeadOfZerosStartsAtLnThree) {
  ASSERT_EQ(run(arguments("zeros", {"model.head=shares", "train.learning_rate=0", "train.max_steps=1"})), 0);
  const std::vector<Verdict> zeros = verdicts("zeros");
  EXPECT_THAT(zeros[0].probabilities, testing::Each(testing::DoubleNear(1.0 / 3, 1e-6)));
  ASSERT_EQ(run(arguments("learnt", {"model.head=shares"})), 0);
  EXPECT_GT(std::abs(verdicts("learnt")[0].probabilities[0] - 1.0 / 3), 1e-4);
}

TEST_F(SiameseCommands, IsEvaluatedPredictedAndResumed) {
  ASSERT_EQ(run(arguments("whole", {"train.save_every=2"})), 0);
  const std::filesystem::path part = file("part");
  std::filesystem::copy(file("whole"), part, std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(part / "checkpoints" / "step-4");
  std::filesystem::remove(part / "adapter_model.safetensors");
  ASSERT_EQ(run(arguments("part", {"train.save_every=2", "train.resume=auto"})), 0);
  EXPECT_EQ(read_text(part / "adapter_model.safetensors"), read_text(file("whole") / "adapter_model.safetensors"));

  testing::internal::CaptureStdout();
  ASSERT_EQ(
      run({"eval", "--adapter", file("whole").string(), "--data", file("test.csv").string(), "--calibrate", "--json"}),
      0);
  EXPECT_LT(nlohmann::json::parse(testing::internal::GetCapturedStdout())["log_loss"].get<double>(), 2);
  ASSERT_EQ(run({"predict", "--adapter", file("whole").string(), "--data", file("test.csv").string(), "--out",
                 file("out.csv").string()}),
            0);
  EXPECT_THAT(read_text(file("out.csv")), testing::StartsWith("id,winner_model_a,winner_model_b,winner_tie\n"));
}

TEST_F(SiameseCommands, SaysWhatItCannotBeUsedWith) {
  auto error = [&](const std::string& setting) { return error_of(arguments("x", {setting})); };
  EXPECT_THAT(error("data.swap=random"), HasSubstr("expected none with judge.form: siamese"));
  EXPECT_THAT(error("task=reward"), HasSubstr("judge.form: is for task: judge"));
  EXPECT_THAT(error("model.head=labels"), HasSubstr("where each answer is read by itself use shares"));
  EXPECT_THAT(error("data.template='{prompt} {response_a} {response_b}'"), HasSubstr("and no {response}"));
}

}  // namespace
}  // namespace gavel
