// schema, completion and man: what the program says of itself.
#include "usage/commands.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "recipe/schema.h"
#include "usage/complete.h"
#include "usage/man_page.h"

namespace gavel {

void add_usage_commands(CLI::App& app, const BuildInfo& build) {
  auto* schema = app.add_subcommand("schema", "Print a JSON Schema of recipes, for editors");
  schema->callback([] { fmt::print("{}", recipe_schema()); });

  auto* completion = app.add_subcommand("completion", "Print a script that completes gavel's command line in a shell");
  auto shell = std::make_shared<std::string>();
  completion->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([shell] { fmt::print("{}", completion_script(*shell)); });
  completion->footer(
      "bash: eval \"$(gavel completion bash)\" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc, behind compinit;\n"
      "fish: gavel completion fish > ~/.config/fish/completions/gavel.fish");

  auto* man = app.add_subcommand("man", "Print the manual page, for man: gavel man > gavel.1; man -l gavel.1");
  man->callback([&app, build] { fmt::print("{}", man_page(app, build)); });
}

}  // namespace gavel
