#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands.h"
#include "plan/plan.h"

namespace gavel {

void add_plan_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "plan", "What a recipe needs on a TPU, GPU or CPU, by compiling its step without the hardware");
  auto recipe = std::make_shared<std::string>(), target = std::make_shared<std::string>("cpu");
  auto overrides = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<bool>(false), brief = std::make_shared<bool>(false);
  command->add_option("recipe", *recipe, "Recipe file (YAML); model.path may be a built-in shape such as llama-3-8b")
      ->required();
  command->add_option("settings", *overrides, "section.key=value, over the recipe's own");
  command
      ->add_option(
          "--target", *target,
          "cpu; a100-40, a100-80, h100, h200, l4, l40s, rtx4090 or t4, with xN for several; tpu-v3-8, tpu-v4-N, "
          "tpu-v5e-N, tpu-v5p-N, tpu-v6e-N (N as in Google's names)")
      ->capture_default_str();
  command->add_flag("--json", *json, "Print JSON");
  command->add_flag("--no-remedies", *brief, "Do not look for what would make it fit");
  command->callback([=] {
    Plan plan = make_plan(load_recipe(*recipe, *overrides), {.target = *target, .remedies = !*brief});
    fmt::print("{}{}", *json ? plan_json(plan) : format_plan(plan), *json ? "\n" : "");
    if (!plan.fits) throw CLI::RuntimeError(3);
  });
  command->footer(
      "Exit status: 0 when it fits, 3 when it does not, 1 for an error. Nothing is trained; what is told was "
      "compiled, never run.\n"
      "The plugins for tpu and cuda are fetched with `gavel doctor --fetch tpu` and `--fetch cuda`.");
}

}  // namespace gavel
