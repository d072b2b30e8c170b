// An adapter that came from a stranger: it names no code, and its files end nothing.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "base/error.h"
#include "cli_fixture.h"
#include "judge/judge.h"
#include "judge/load_adapter.h"

namespace gavel {
namespace {

using testing::HasSubstr;

class HostileAdapter : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=2", "train.save_every=1"}), 0);
  }
  std::filesystem::path adapter() const { return file("run"); }
  std::vector<std::string> judge(std::vector<std::string> more = {}) const {
    std::vector<std::string> out = {"judge", "--adapter", adapter().string(), "--prompt", "p", "--a", "x", "--b", "y"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  void set(const std::string& key, const std::string& value) const {
    std::string text = read_text(adapter() / "recipe.yaml");
    const size_t at = text.find(key + ": ");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, text.find('\n', at) - at, key + ": " + value);
    write_file(adapter() / "recipe.yaml", text);
  }
};

TEST_F(HostileAdapter, NamesNoCode) {
  // Opened, it would be refused as no library.
  const std::string library = file("evil.so").string();
  write_file(library, "no library at all");
  set("device", library);
  testing::internal::CaptureStdout();
  EXPECT_EQ(run(judge()), 0);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(load_adapter(JudgeOptions{adapter(), std::nullopt, {}}).recipe.device, "cpu");
  // What the caller names is the caller's to answer for.
  EXPECT_THAT(error_of(judge({"device=" + library})), HasSubstr("expected a shared library"));
}

TEST_F(HostileAdapter, NamesNoRulesAndNoFoldersOutside) {
  set("  rules", "/etc/passwd");
  EXPECT_FALSE(load_adapter(JudgeOptions{adapter(), std::nullopt, {}}).recipe.mesh.rules.has_value());
  std::filesystem::create_directories(file("several"));
  for (const char* member : {"../run", "/etc"}) {
    write_file(file("several") / "ensemble.json", fmt::format("{{\"format\": 1, \"members\": [\"{}\"]}}", member));
    EXPECT_THAT(error_of({"judge", "--adapter", file("several").string(), "--prompt", "p", "--a", "x", "--b", "y"}),
                HasSubstr("lies outside its folder"))
        << member;
  }
}

TEST_F(HostileAdapter, RowsThatAreShownGiveATerminalNothingToActOn) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(
      run({"judge", "--adapter", adapter().string(), "--prompt", "say \x1b]0;pwned\x07", "--a", "\u202ex", "--b", "y"}),
      0);
  const std::string shown = testing::internal::GetCapturedStdout();
  EXPECT_THAT(shown, testing::AllOf(HasSubstr("prompt  say \\x1b]0;pwned\\x07\n"),
                                    HasSubstr("A       \\xe2\\x80\\xaex\n"), testing::Not(HasSubstr("\x1b"))));
}

TEST_F(HostileAdapter, DeepFilesAreNamed) {
  const std::string deep = std::string(300'000, '[') + std::string(300'000, ']');
  const std::string object = "{\"a\":" + deep + "}";
  auto expect_named = [&](const std::filesystem::path& path, const std::vector<std::string>& arguments) {
    const std::string before = std::filesystem::exists(path) ? read_text(path) : "";
    write_file(path, object);
    EXPECT_THAT(error_of(arguments), testing::AllOf(HasSubstr(path.filename().string()), HasSubstr("256 levels")))
        << path;
    if (before.empty())
      std::filesystem::remove(path);
    else
      write_file(path, before);
  };
  for (const char* name : {"adapter_config.json", "calibration.json", "ensemble.json", "tokenizer_config.json"})
    expect_named(adapter() / name, judge());
  expect_named(model() / "config.json", judge());
  // Of the two checkpoints neither can be gone on from: no run is lost for that without a word.
  for (const char* step : {"step-1", "step-2"}) write_file(adapter() / "checkpoints" / step / "checksums.json", object);
  EXPECT_THAT(
      error_of({"train", file("recipe.yaml").string(), "train.max_steps=2", "train.save_every=1", "train.resume=auto"}),
      HasSubstr("256 levels"));
}

// Each would wait for the pipe's other end for ever.
TEST_F(HostileAdapter, PipesInPlaceOfFilesHoldNothingUp) {
  const auto with_pipe = [&](const std::string& name, const std::vector<std::string>& command) {
    const auto path = adapter() / name, kept = file("kept");
    const bool there = std::filesystem::exists(path);
    if (there) std::filesystem::rename(path, kept);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_THAT(error_of(command), HasSubstr(name)) << name;
    std::filesystem::remove(path);
    if (there) std::filesystem::rename(kept, path);
  };
  for (const char* name :
       {"adapter_config.json", "adapter_model.safetensors", "recipe.yaml", "tokenizer.json", "calibration.json"})
    with_pipe(name, judge());
  const std::vector<std::string> resume = {"train", file("recipe.yaml").string(), "train.max_steps=3", "--resume",
                                           "--allow-changes"};
  for (const char* name : {".lock", "metrics.jsonl"}) with_pipe(name, resume);
  ASSERT_EQ(::mkfifo(file("out.csv.partial").c_str(), 0600), 0);
  EXPECT_THAT(error_of({"predict", "--adapter", adapter().string(), "--data", file("test.csv").string(), "--out",
                        file("out.csv").string()}),
              HasSubstr("found a pipe"));
  EXPECT_EQ(run(resume), 0);
}

}  // namespace
}  // namespace gavel
