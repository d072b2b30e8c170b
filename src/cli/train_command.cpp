#include "cli/commands.h"
#include "recipe/recipe.h"
#include "train/trainer.h"

namespace gavel {

void add_train_command(CLI::App& app) {
  auto* command = app.add_subcommand("train", "Train a judge as a recipe says");
  auto recipe = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  command->add_option("recipe", *recipe, "Recipe file (YAML)")->required();
  command->add_option("settings", *overrides, "section.key=value, over the recipe's own");
  command->footer("Settings and their defaults:\n" + recipe_help());
  command->callback([=] { run_training(load_recipe(*recipe, *overrides)); });
}

}  // namespace gavel
