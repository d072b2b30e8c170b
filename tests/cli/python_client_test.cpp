// The Python package (python/gavel) with the program, on a tiny model: python_client.py is the test itself.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/command_line.h"
#include "base/loopback.h"
#include "base/scoped_variable.h"
#include "cli/cli_fixture.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

class PythonClient : public Cli {};

TEST_F(PythonClient, JudgesAndRewards) {
  const fs::path program = fs::path(GAVEL_BINARY_DIR) / "gavel";
  if (!fs::exists(program)) GTEST_SKIP() << "the program is not built";
  if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  if (std::system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' > /dev/null 2>&1") != 0)
    GTEST_SKIP() << "there is no python3 of 3.9 or later";
  const std::string recipe = file("recipe.yaml").string();
  ASSERT_EQ(run({"train", recipe, "train.max_steps=3"}), 0);
  ASSERT_EQ(run({"train", recipe, "train.max_steps=3", "task=reward", "model.head=fresh",
                 "output=" + file("reward").string()}),
            0);
  const ScopedVariable judge("JUDGE", file("run").string()), reward("REWARD", file("reward").string()),
      found("GAVEL_PROGRAM", program.string()), quiet("PYTHONDONTWRITEBYTECODE", "1");
  const std::string log = file("python.log").string();
  const int status =
      std::system(fmt::format("python3 -W error {} > {} 2>&1",
                              shell_word(GAVEL_SOURCE_DIR "/tests/cli/python_client.py"), shell_word(log))
                      .c_str());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << read_text(log);
  EXPECT_THAT(read_text(log), testing::HasSubstr("\nOK\n"));
}

}  // namespace
}  // namespace gavel
