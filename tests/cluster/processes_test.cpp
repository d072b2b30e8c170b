// Two processes on this machine, started by mpirun, for real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/file.h"
#include "data/sample.h"
#include "train/test_support.h"
#include "train/tiny_tokenizer.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Outcome {
  int status = 0;
  std::string output;
};

Outcome run(const std::string& command) {
  Outcome outcome;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  while (size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe)) outcome.output.append(buffer.data(), size);
  outcome.status = ::pclose(pipe);
  return outcome;
}

class Processes : public testing::Test {
 protected:
  void SetUp() override {
    if (run("mpirun --version").status != 0)
      GTEST_SKIP() << "mpirun is not installed (sudo apt-get install openmpi-bin)";
    // mpirun asks for this where tests run as root, as in containers.
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  }
  static Outcome launch(const std::string& arguments, int processes = 2) {
    return run(fmt::format("timeout 100 mpirun -n {} --oversubscribe {} {}", processes, GAVEL_CLUSTER_PROBE, arguments));
  }
};

TEST_F(Processes, PutAndGetValuesOfEachOther) {
  Outcome outcome = launch("store");
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("2 processes: ok"));
}

TEST_F(Processes, PluginsReachTheOthersByTheirCallbacks) {
  Outcome outcome = launch("callbacks");
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("2 processes: ok"));
}

TEST_F(Processes, OneIsASingleProcess) {
  Outcome outcome = launch("none", 1);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("1 processes: ok"));
}

TEST_F(Processes, TheirBatchesTogetherAreThoseOfOneProcess) {
  TempFolder scratch("processes");
  make_sample(scratch.path() / "train.csv", scratch.path() / "test.csv", 300, 30, 1);
  write_file(scratch.path() / "tokenizer.json", tiny_tokenizer());
  const std::string cache = fmt::format("-x XDG_CACHE_HOME={}", (scratch.path() / "cache").string());
  auto probe = [&](const std::string& settings) {
    return run(fmt::format("timeout 100 mpirun -n 2 --oversubscribe {} {} data {} {}", cache, GAVEL_CLUSTER_PROBE,
                           scratch.path().string(), settings));
  };
  for (const std::string settings :
       {"data.batching=padded data.cache=false", "data.batching=bucketed data.swap=both",
        "data.batching=packed data.swap=random data.max_length=48 train.gradient_accumulation=2 data.fraction=0.7"}) {
    Outcome outcome = probe(settings);
    EXPECT_EQ(outcome.status, 0) << settings << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("made together")) << settings;
    EXPECT_THAT(outcome.output, HasSubstr("2 processes: ok")) << settings;
  }
  Outcome again = probe("data.batching=bucketed data.swap=both");
  EXPECT_EQ(again.status, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("from the cache"));
}

TEST_F(Processes, ARunThatCanNotBeSharedOutSaysSo) {
  TempFolder scratch("processes");
  std::string output = (scratch.path() / "run").string();
  make_sample(scratch.path() / "train.csv", scratch.path() / "test.csv", 40, 20, 1);
  std::string data = fmt::format("data.train={0}/train.csv data.valid={0}/test.csv", scratch.path().string());
  Outcome outcome = run(fmt::format("timeout 100 mpirun -n 2 --oversubscribe {} train {} output={} {}", GAVEL_PROGRAM,
                                    std::string(GAVEL_SOURCE_DIR) + "/recipes/demo.yaml", output, data));
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("this is one of 2 processes"));
}

}  // namespace
}  // namespace gavel
