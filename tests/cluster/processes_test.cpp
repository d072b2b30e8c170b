// Two processes on this machine, started by mpirun, for real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/file.h"
#include "base/loopback.h"
#include "report/metrics.h"
#include "sample/sample.h"
#include "setup/test_support.h"
#include "setup/tiny_tokenizer.h"

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
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
    // mpirun asks for this where tests run as root, as in containers.
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  }
  static Outcome launch(const std::string& arguments, int processes = 2) {
    return run(
        fmt::format("timeout 100 mpirun -n {} --oversubscribe {} {}", processes, GAVEL_CLUSTER_PROBE, arguments));
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
  for (const std::string& settings : std::vector<std::string>{
           "data.batching=padded data.cache=false data.valid=" + (scratch.path() / "test.csv").string(),
           "data.batching=bucketed data.swap=both",
           "data.batching=packed data.swap=random data.max_length=48 train.gradient_accumulation=2 "
           "data.fraction=0.7"}) {
    Outcome outcome = probe(settings);
    EXPECT_EQ(outcome.status, 0) << settings << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("made together")) << settings;
    EXPECT_THAT(outcome.output, HasSubstr("2 processes: ok")) << settings;
  }
  Outcome again = probe("data.batching=bucketed data.swap=both");
  EXPECT_EQ(again.status, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("from the cache"));
}

TEST_F(Processes, OnlyTheFirstWritesAndAllStopAndGoOnTogether) {
  TempFolder scratch("processes");
  fs::path model = scratch.path() / "model", temporary = scratch.path() / "tmp";
  fs::copy(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden", model, fs::copy_options::recursive);
  fs::create_directories(temporary);
  write_file(model / "tokenizer.json", tiny_tokenizer());
  make_sample(scratch.path() / "train.csv", scratch.path() / "test.csv", 60, 12, 1);
  fs::path recipe = scratch.path() / "recipe.yaml";
  write_file(recipe, fmt::format(R"(model: {{path: {0}/model, dtype: float32}}
lora: {{r: 2, lora_alpha: 4}}
data: {{train: {0}/train.csv, valid: {0}/test.csv, max_length: 48, cache: false}}
train: {{max_steps: 12, batch_size: 4, warmup_steps: 1, learning_rate: 0.01, eval_every: 4, kernels: plain}}
output: {0}/one
)",
                                 scratch.path().string()));
  Outcome one = run(fmt::format("timeout 100 {} --quiet train {}", GAVEL_PROGRAM, recipe.string()));
  ASSERT_EQ(one.status, 0) << one.output;

  auto together = [&](const std::string& what, const std::string& settings) {
    return run(fmt::format("TMPDIR={} timeout 100 mpirun -n 2 --oversubscribe -x TMPDIR {} {} {} output={}/two {}",
                           temporary.string(), GAVEL_CLUSTER_PROBE, what, recipe.string(), scratch.path().string(),
                           settings));
  };
  Outcome stopped = together("train-and-stop", "");
  EXPECT_EQ(stopped.status, 0) << stopped.output;
  EXPECT_FALSE(fs::exists(scratch.path() / "two/adapter_model.safetensors"));
  Outcome rest = together("train", "train.resume=auto");
  EXPECT_EQ(rest.status, 0) << rest.output;
  auto bytes = [&](const char* run) { return read_text(scratch.path() / run / "adapter_model.safetensors"); };
  EXPECT_TRUE(bytes("one") == bytes("two"));
  // Each line is there once, and the second process has left nothing.
  EXPECT_EQ(read_metrics(scratch.path() / "two/metrics.jsonl").size(),
            read_metrics(scratch.path() / "one/metrics.jsonl").size());
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(temporary)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with("ompi.") && !name.starts_with("pmix")) left.push_back(name);
  }
  EXPECT_THAT(left, testing::IsEmpty());
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
