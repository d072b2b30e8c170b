#include "usage/complete.h"

#include <fmt/format.h>

#include <algorithm>

#include "recipe/recipe.h"
#include "recipe/schema.h"

namespace gavel {

namespace {

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}

bool takes_many(const CLI::Option& option) {
  return option.get_items_expected_max() > 1;
}

/** The choices of CLI::IsMember, which stand in the type's name: "TEXT:{float32,bfloat16}". */
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{'), close = type.find('}', open);
  std::vector<std::string> choices;
  if (close == std::string::npos) return choices;
  for (size_t at = open + 1; at < close;) {
    const size_t end = std::min(type.find(',', at), close);
    choices.push_back(type.substr(at, end - at));
    at = end + 1;
  }
  return choices;
}

/** Whether the value is a text, which may be a path. */
bool is_text(const CLI::Option& option) {
  return option.get_type_name().starts_with("TEXT");
}

/** An option that the command or one above it has under the name that was written. */
const CLI::Option* find_option(const CLI::App* command, const std::string& word) {
  for (; command != nullptr; command = command->get_parent())
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames())
        if (word == "--" + name) return option;
      for (const std::string& name : option->get_snames())
        if (word == "-" + name) return option;
    }
  return nullptr;
}

class Completer {
 public:
  Completer(const CLI::App& app, const std::vector<std::string>& words) : command_(&app), current_(words.back()) {
    for (size_t i = 0; i + 1 < words.size(); ++i) pass(words[i]);
  }

  Completions get() {
    const size_t equals = current_.find('=');
    if (waiting_ != nullptr && !(takes_many(*waiting_) && current_.starts_with('-'))) {
      add_values(*waiting_, "");
    } else if (!only_positionals_ && current_.starts_with('-')) {
      if (equals == std::string::npos)
        add_options();
      else if (const CLI::Option* option = find_option(command_, current_.substr(0, equals));
               option && !is_flag(*option))
        add_values(*option, current_.substr(0, equals + 1));
    } else {
      if (positionals_ == 0)
        for (const CLI::App* below :
             command_->get_subcommands([](const CLI::App* app) { return !app->get_name().empty(); }))
          add(below->get_name(), below->get_description());
      const CLI::Option* option = positional();
      if (option != nullptr && option->get_description().starts_with("section.key="))
        add_settings(option->get_name() == "keys");
      else if (option != nullptr)
        add_values(*option, "");
    }
    return std::move(out_);
  }

 private:
  /** Takes notice of a word before the last. */
  void pass(const std::string& word) {
    const bool dashed = word.size() > 1 && word.starts_with('-') && !only_positionals_;
    if (waiting_ != nullptr && !(dashed && takes_many(*waiting_))) {
      if (!takes_many(*waiting_)) waiting_ = nullptr;
      return;
    }
    waiting_ = nullptr;
    if (word == "--") {
      only_positionals_ = true;
    } else if (dashed) {
      const CLI::Option* option = find_option(command_, word);
      if (option != nullptr && !is_flag(*option)) waiting_ = option;
    } else if (const CLI::App* below = positionals_ == 0 ? find_command(word) : nullptr) {
      command_ = below;
    } else {
      ++positionals_;
    }
  }

  const CLI::App* find_command(const std::string& word) const {
    for (const CLI::App* below : command_->get_subcommands([](const CLI::App*) { return true; }))
      if (below->get_name() == word) return below;
    return nullptr;
  }

  /** The argument without a name that the last word would be; nullptr when there are no more. */
  const CLI::Option* positional() const {
    int64_t place = positionals_;
    for (const CLI::Option* option : command_->get_options()) {
      if (!option->get_positional()) continue;
      if (takes_many(*option) || place-- == 0) return option;
    }
    return nullptr;
  }

  void add(const std::string& text, const std::string& help) {
    if (text.starts_with(current_)) out_.words.push_back({text, help.substr(0, help.find('\n'))});
  }

  void add_values(const CLI::Option& option, const std::string& before) {
    const std::vector<std::string> choices = choices_of(option);
    for (const std::string& choice : choices) add(before + choice, "");
    if (choices.empty() && is_text(option)) out_.files = true;
  }

  void add_options() {
    for (const CLI::App* app = command_; app != nullptr; app = app->get_parent())
      for (const CLI::Option* option : app->get_options()) {
        if (option->get_positional()) continue;
        for (const std::string& name : option->get_lnames()) {
          const bool of_above = app != command_ && (name == "help" || name == "version");
          if (!of_above) add("--" + name, option->get_description());
        }
      }
  }

  /** key=, or what may stand behind it; of several values (`many`, as in gavel sweep) behind the last comma. */
  void add_settings(bool many) {
    const size_t equals = current_.find('=');
    for (const RecipeKey& key : recipe_keys()) {
      if (equals == std::string::npos) {
        add(key.key + "=", key.help);
        continue;
      }
      if (current_.substr(0, equals) != key.key) continue;
      size_t from = equals + 1;
      if (const size_t comma = current_.rfind(','); many && comma != std::string::npos) from = comma + 1;
      const std::string before = current_.substr(0, from);
      std::vector<std::string> values = key.choices;
      if (key.type == "true or false") values = {"true", "false"};
      if (key.type == "list of names" && !values.empty()) values.insert(values.begin(), "all-linear");
      if (key.default_value == "null") values.emplace_back("null");
      for (const std::string& value : values) add(before + value, "");
      out_.files = names_a_path(key.key);
    }
  }

  const CLI::App* command_;
  const std::string current_;
  const CLI::Option* waiting_ = nullptr;  // for its value
  int64_t positionals_ = 0;
  bool only_positionals_ = false;
  Completions out_;
};

}  // namespace

Completions complete(const CLI::App& app, const std::vector<std::string>& words) {
  return Completer(app, words.empty() ? std::vector<std::string>{""} : words).get();
}

std::string completion_lines(const Completions& completions) {
  std::string text;
  for (const Completions::Word& word : completions.words)
    text += word.help.empty() ? word.text + "\n" : fmt::format("{}\t{}\n", word.text, word.help);
  return completions.files ? text + ":files\n" : text;
}

}  // namespace gavel
