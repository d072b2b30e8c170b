// A program that is installed takes what came with it, from any folder; and the demo.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdlib>

#include "cli/cli_fixture.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/** The built program under a prefix, as cmake/install.cmake lays it out. */
class Installation : public Cli {
 protected:
  void SetUp() override {
    const fs::path program = fs::path(GAVEL_BINARY_DIR) / "gavel";
    if (!fs::exists(program)) GTEST_SKIP() << "the program is not built";
    Cli::SetUp();
    for (const char* folder : {"prefix/bin", "prefix/lib/gavel/plugins", "prefix/share/gavel/recipes", "elsewhere"})
      fs::create_directories(file(folder));
    fs::copy_file(program, file("prefix/bin/gavel"));
  }

  /** What the installed program says in the folder "elsewhere". */
  std::string say(const std::string& arguments) {
    const std::string out = file("said").string();
    const std::string command = fmt::format("cd {} && {} {} > {} 2>&1", file("elsewhere").string(),
                                            file("prefix/bin/gavel").string(), arguments, out);
    status_ = WEXITSTATUS(std::system(command.c_str()));
    return read_text(out);
  }

  int status_ = 0;
};

TEST_F(Installation, RecipesComeFromThePrefixUnlessTheyAreAtHand) {
  const std::string share = file("prefix/share/gavel/recipes/mine.yaml").string();
  fs::copy_file(file("recipe.yaml"), share);
  const std::string settings = " data.train=of-the-prefix.csv";
  EXPECT_THAT(say("train recipes/mine.yaml" + settings), AllOf(HasSubstr(share), HasSubstr("of-the-prefix.csv")));
  EXPECT_EQ(status_, 1);
  // Only by this name, and not those of the clone that the program was built in.
  EXPECT_THAT(say("train mine.yaml"), HasSubstr("mine.yaml"));
  EXPECT_THAT(say("train recipes/demo.yaml"), AllOf(HasSubstr("recipes/demo.yaml"), Not(HasSubstr("share"))));
  EXPECT_THAT(say("train recipes/../recipes/mine.yaml"), Not(HasSubstr("of-the-prefix")));
  fs::create_directories(file("elsewhere/recipes"));
  fs::copy_file(share, file("elsewhere/recipes/mine.yaml"));
  EXPECT_THAT(say("train recipes/mine.yaml" + settings), AllOf(Not(HasSubstr(share)), HasSubstr("of-the-prefix.csv")));
}

TEST_F(Installation, ThePluginComesFromThePrefix) {
  write_file(file("prefix/lib/gavel/plugins/pjrt_c_api_cpu_plugin.so"), "no library");
  write_file(file("elsewhere/pjrt_c_api_cpu_plugin.so"), "planted");
  EXPECT_THAT(say("doctor"), HasSubstr("cpu   not usable: plugin " +
                                       file("prefix/lib/gavel/plugins/pjrt_c_api_cpu_plugin.so").string()));
  fs::remove(file("prefix/lib/gavel/plugins/pjrt_c_api_cpu_plugin.so"));
  EXPECT_THAT(say("doctor"), Not(HasSubstr("elsewhere")));
}

TEST_F(Installation, FetchingWithoutTheScriptSaysSo) {
  // One in the folder where the program is started is not run.
  fs::create_directories(file("elsewhere/tools"));
  write_file(file("elsewhere/tools/fetch_packages.py"), "open('ran', 'w')\n");
  write_file(file("elsewhere/tools/packages.lock"), "");
  EXPECT_THAT(say("doctor --fetch smollm2"), HasSubstr("install Gavel anew"));
  EXPECT_EQ(status_, 1);
  EXPECT_FALSE(fs::exists(file("elsewhere/ran")));
  EXPECT_THAT(say("doctor --fetch smolm"), HasSubstr("expected one of cpu, cuda, tpu, parquet, smollm2"));
}

TEST_F(Cli, TheDemoEndsWithAVerdictAndReplacesOnlyItsOwnRun) {
  const std::vector<std::string> demo = {
      "demo", "--model", model().string(), "--out", file("demo").string(), "train.max_steps=20"};
  for (int time = 0; time < 2; ++time) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(demo), 0);
    EXPECT_THAT(testing::internal::GetCapturedStdout(),
                AllOf(HasSubstr("20 steps"), HasSubstr("verdict "), HasSubstr("Bread")));
  }
  EXPECT_TRUE(fs::exists(file("demo-data/train.csv")));

  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1"}), 0);
  const std::string before = read_text(file("run/metrics.jsonl"));
  EXPECT_THAT(error_of({"demo", "--model", model().string(), "--out", file("run").string()}),
              HasSubstr("holds a run that is not of this demo"));
  EXPECT_EQ(read_text(file("run/metrics.jsonl")), before);
}

TEST_F(Cli, TheDemoOfARewardPutsThreeAnswersInOrder) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"demo", "--task", "reward", "--model", model().string(), "--out", file("demo").string(),
                 "model.head=fresh", "train.max_steps=10"}),
            0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), AllOf(HasSubstr("rewards A "), HasSubstr("\"rewards\"")));
}

}  // namespace
}  // namespace gavel
