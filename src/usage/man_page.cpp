#include "usage/man_page.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/version.h"
#include "recipe/recipe.h"

namespace gavel {

namespace {

/** A text as roff prints it: nothing in it is a request, a dash is one that can be copied, and all is ASCII. */
std::string escaped(std::string_view text) {
  std::string out;
  bool line_starts = true;
  for (size_t at = 0; at < text.size();) {
    const unsigned char byte = static_cast<unsigned char>(text[at]);
    if (line_starts && (byte == '.' || byte == '\'')) out += "\\&";
    line_starts = byte == '\n';
    if (byte >= 0x80) {
      const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      uint32_t code = byte & (0xff >> (length + 1));
      for (size_t i = 1; i < length && at + i < text.size(); ++i)
        code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3f);
      out += code == 0x2026 ? "\\&..." : fmt::format("\\[u{:04X}]", code);  // terminals of ASCII have no ellipsis
      at += length;
      continue;
    }
    if (byte == '\\')
      out += "\\e";
    else if (byte == '-')
      out += "\\-";
    else if (byte == '\'')
      out += "\\(aq";
    else if (byte == '^')
      out += "\\(ha";
    else if (byte == '~')
      out += "\\(ti";
    else if (byte == '`')
      out += "\\(ga";
    else
      out += static_cast<char>(byte);
    ++at;
  }
  return out;
}

/** Lines of roff of at most 80 characters, cut at blanks. */
std::string flowed(std::string_view text) {
  std::string out;
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::string word = escaped(text.substr(at, end - at));
    at = end + 1;
    if (word.empty()) continue;
    if (width > 0 && width + 1 + word.size() > 80) {
      out += '\n';
      width = 0;
    }
    out += (width > 0 ? " " : "") + word;
    width += word.size() + (width > 0 ? 1 : 0);
  }
  return out;
}

std::string bold(std::string_view text) {
  return "\\fB" + escaped(text) + "\\fR";
}

std::string italic(std::string_view text) {
  return "\\fI" + escaped(text) + "\\fR";
}

/** What stands for a value: "TEXT", "INT in [0 - 9]", "float32|bfloat16". */
std::string value_word(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t colon = type.find(':');
  if (colon == std::string::npos) return type;
  std::string rest = type.substr(colon + 1);
  if (rest.find(" in [") != std::string::npos) return rest;
  if (!rest.starts_with('{')) return type.substr(0, colon);
  rest = rest.substr(1, rest.find('}') - 1);
  std::replace(rest.begin(), rest.end(), ',', '|');
  return rest;
}

/** "\-\-data TEXT": the names in bold, and what stands for a value. */
std::string option_head(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back(bold("-" + name));
  for (const std::string& name : option.get_lnames()) names.push_back(bold("--" + name));
  std::string head = fmt::format("{}", fmt::join(names, ", "));
  if (option.get_items_expected_max() > 0) head += " " + italic(value_word(option));
  return head;
}

std::string option_text(const CLI::Option& option) {
  std::string text = option.get_description();
  if (option.get_required()) text += " (required)";
  if (const std::string given = option.get_default_str();
      !given.empty() && given != "[]" && option.get_items_expected_max() > 0)
    text += fmt::format(" (default: {})", given);
  return flowed(text);
}

std::string positional_word(const CLI::Option& option) {
  const std::string word = italic(option.get_name()) + (option.get_items_expected_max() > 1 ? " \\&..." : "");
  return option.get_required() ? word : "[" + word + "]";
}

std::string synopsis(const CLI::App& command, const std::string& name) {
  std::string line = bold(name) + " [" + italic("options") + "]";
  for (const CLI::Option* option : command.get_options())
    if (option->get_positional()) line += " " + positional_word(*option);
  return line;
}

std::string options(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_name() == "--help") continue;
    const std::string head = option->get_positional() ? italic(option->get_name()) : option_head(*option);
    text += fmt::format(".TP\n{}\n{}\n", head, option_text(*option));
  }
  return text;
}

/** A command with those below it. */
std::string command_section(const CLI::App& command, const std::string& name) {
  std::string text =
      fmt::format(".SS {}\n{}.\n.PP\n{}\n", bold(name), flowed(command.get_description()), synopsis(command, name));
  text += options(command);
  // The settings have a section of their own.
  if (const std::string footer = command.get_footer();
      !footer.empty() && footer.find(recipe_help()) == std::string::npos)
    text += fmt::format(".PP\n{}\n", flowed(footer));
  for (const CLI::App* below : command.get_subcommands([](const CLI::App*) { return true; }))
    text += command_section(*below, name + " " + below->get_name());
  return text;
}

std::string settings() {
  std::string text;
  for (const RecipeKey& key : recipe_keys()) {
    const std::string values = key.choices.empty() ? key.type + (key.range.empty() ? "" : " " + key.range)
                                                   : fmt::format("{}", fmt::join(key.choices, ", "));
    text += fmt::format(".TP\n{}\n{}\n", bold(key.key),
                        flowed(fmt::format("{} ({}; {})", key.help, values,
                                           key.required ? "required" : "default: " + key.default_value)));
  }
  return text;
}

}  // namespace

std::string man_page(const CLI::App& app, const BuildInfo& build) {
  std::string text = fmt::format(".TH GAVEL 1 \"{}\" \"gavel {}\" \"User Commands\"\n", build.date, version());
  text += ".SH NAME\ngavel \\- trains a judge of answers as people prefer them, and judges\n";
  text += ".SH SYNOPSIS\n" + bold("gavel") + " " + italic("command") + " [" + italic("options") + "]\n";
  text += fmt::format(".SH DESCRIPTION\n{}\n", flowed(app.get_description()));
  text += ".SH OPTIONS\n" + options(app);
  text += ".SH COMMANDS\n";
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    text += command_section(*command, "gavel " + command->get_name());
  text += ".SH SETTINGS\n" +
          flowed(
              "Keys of recipes. In a file the sections nest; behind a command they are written "
              "section.key=value.") +
          "\n" + settings();
  text +=
      ".SH EXIT STATUS\n" +
      flowed(
          "0; 1 for an error, whose message says what was found and what to do; 2 for a mistake in the command line; "
          "128 and the number of the signal that stopped a run.") +
      "\n";
  return text;
}

}  // namespace gavel
