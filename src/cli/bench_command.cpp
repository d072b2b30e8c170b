#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "measure/bench.h"

namespace gavel {

void add_bench_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("bench", "Speed of a recipe on this machine: training steps over its rows, or forward passes");
  auto recipe = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  auto options = std::make_shared<BenchOptions>();
  auto json = std::make_shared<bool>(false);
  command->add_option("recipe", *recipe, "Recipe file (YAML)")->required();
  command->add_option("settings", *overrides, "section.key=value, over the recipe's own");
  command->add_flag("--predict", options->predict, "Forward passes, as gavel predict makes them");
  command->add_option("--steps", options->max_steps, "Stop after this many steps; all rows once when not given")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command->add_option("--epochs", options->epochs, "Passes over the rows")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--losses", options->losses,
                      "File for each step's rows and loss (and logits), a JSON line a step");
  command->add_option(
      "--trace", options->trace,
      "Folder for a trace of some steps (train.profile; else steps 2 to 4), for TensorBoard's profile plugin");
  command->add_flag("--json", *json, "Figures as JSON on standard output");
  command->callback([=] {
    BenchResult result = run_bench(load_recipe(*recipe, *overrides), *options);
    fmt::print("{}\n", *json ? result.to_json() : result.to_text());
  });
}

}  // namespace gavel
