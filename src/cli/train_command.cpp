// train, folds and sweep: one run, or several that belong together.
#include "base/error.h"
#include "base/log.h"
#include "base/own_files.h"
#include "cli/commands.h"
#include "recipe/recipe.h"
#include "study/folds.h"
#include "study/sweep.h"
#include "train/run_training.h"

namespace gavel {

namespace {

/** How the runs of a study are started: as this program was. */
StudyStart study_start() {
  return {own_program(), spdlog::default_logger()->level() > spdlog::level::info};
}

/** Prints what a study found; of an interrupted one the exit status tells. */
void end_study(const StudyResult& result) {
  if (result.signal != 0) throw CLI::RuntimeError(128 + result.signal);
  fmt::print("{}", result.text);
}

}  // namespace

void add_train_command(CLI::App& app) {
  auto* command = app.add_subcommand("train", "Train a judge as a recipe says");
  struct Arguments {
    std::string recipe;
    std::vector<std::string> overrides;
    bool resume = false;
    RunOptions run;
  };
  auto given = std::make_shared<Arguments>();
  command->add_option("recipe", given->recipe, "Recipe file (YAML)")->required();
  command->add_option("settings", given->overrides, "section.key=value, over the recipe's own");
  command->add_flag("--resume", given->resume,
                    "Go on from the newest whole checkpoint in the output folder (same as train.resume=auto)");
  command->add_flag("--allow-changes", given->run.allow_changes,
                    "Resume although settings, data or the base model are not what they were");
  command
      ->add_option(
          "--until", given->run.until_step,
          "Stop after this step with an evaluation and a checkpoint, to go on later with --resume; the learning "
          "rate's schedule stays that of the whole run")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", given->run.json,
                    "JSON lines on standard output (the lines of metrics.jsonl, and events) instead of progress");
  command->footer("Settings and their defaults:\n" + recipe_help());
  command->callback([given] {
    if (given->resume) given->overrides.push_back("train.resume=auto");
    if (given->run.json) setup_logging(true);
    TrainingResult result = run_training(load_recipe(given->recipe, given->overrides), given->run);
    if (result.signal != 0) throw CLI::RuntimeError(128 + result.signal);
  });
}

void add_folds_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("folds", "Cross-validation: train all folds, and judge with all of them or their mean");
  struct Arguments {
    std::string recipe;
    std::vector<std::string> overrides;
    std::optional<int64_t> folds;
    bool average = false;
  };
  auto given = std::make_shared<Arguments>();
  command->add_option("recipe", given->recipe, "Recipe file (YAML)")->required();
  command->add_option("settings", given->overrides, "section.key=value, over the recipe's own");
  command->add_option("--folds", given->folds, "How many; default: data.folds of the recipe, else 5");
  command->add_flag("--average", given->average,
                    "Write the mean of the folds' adapters (as gavel average), in place of judging with all of them");
  command->callback([given] {
    if (given->folds) given->overrides.push_back(fmt::format("data.folds={}", *given->folds));
    Recipe recipe = load_recipe(given->recipe, given->overrides);
    if (!recipe.data.folds) {
      given->overrides.emplace_back("data.folds=5");
      recipe = load_recipe(given->recipe, given->overrides);
    }
    if (recipe.data.fold != 0)
      fail("data.fold: is {}, but gavel folds trains them all; leave it out", recipe.data.fold);
    end_study(run_folds(recipe, {study_start(), given->average}));
  });
}

void add_sweep_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("sweep", "Train with all combinations of some values, and compare them row by row");
  struct Arguments {
    std::string recipe, out, reference = "best";
    std::vector<std::string> keys;
    std::optional<int64_t> eta, first_rung;
  };
  auto given = std::make_shared<Arguments>();
  command->add_option("recipe", given->recipe, "Recipe file (YAML)")->required();
  command
      ->add_option("keys", given->keys,
                   "section.key=a,b,c: values to try; with one value it holds for all. A value with commas stands in "
                   "[brackets] or \"quotes\". The values of train.seed are repetitions")
      ->required();
  command->add_option("--out", given->out, "Folder for all runs and the results; default: the recipe's output");
  command
      ->add_option(
          "--halving", given->eta,
          "Successive halving: after --first-rung steps, and then after this many times as many and so on, only the "
          "best of this many settings goes on")
      ->check(CLI::Range(int64_t{2}, int64_t{1000}));
  command->add_option("--first-rung", given->first_rung, "Steps before the first comparison of --halving")
      ->check(CLI::PositiveNumber);
  command->add_option("--reference", given->reference, "The setting that the others' differences are from")
      ->check(CLI::IsMember({"best", "first"}));
  command->callback([given] {
    if (given->eta.has_value() != given->first_rung.has_value())
      fail("gavel sweep: --halving and --first-rung go together: {} is missing",
           given->eta ? "--first-rung" : "--halving");
    const SweepGrid grid = make_grid(given->recipe, given->keys);
    SweepOptions options;
    options.start = study_start();
    options.out = given->out.empty() ? grid.base.output : given->out;
    options.eta = given->eta;
    options.first_rung = given->first_rung.value_or(0);
    options.reference = given->reference == "first" ? SweepOptions::Reference::kFirst : SweepOptions::Reference::kBest;
    end_study(run_sweep(grid, options));
  });
}

}  // namespace gavel
