#include "base/log.h"
#include "cli/commands.h"
#include "recipe/recipe.h"
#include "train/run_training.h"

namespace gavel {

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
      ->add_option("--until", given->run.until_step,
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

}  // namespace gavel
