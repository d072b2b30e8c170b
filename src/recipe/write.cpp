#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "recipe/fields.h"

namespace gavel {

namespace {

using detail::Field;

std::string indent(const std::string& section) {
  if (section.empty()) return "";
  return std::string(2 * (1 + static_cast<size_t>(std::count(section.begin(), section.end(), '.'))), ' ');
}

/** Of the columns: what other formats have by names of their own. */
bool is_of_generic(const std::string& column) {
  const std::vector<std::string> names = {"id",      "prompt",  "response_a", "response_b",
                                          "label_a", "label_b", "label_tie",  "winner"};
  return std::find(names.begin(), names.end(), column) != names.end();
}

/** "train.schedule" to what is allowed besides its type; "" when anything is. */
std::string allowed(const RecipeKey& key) {
  if (!key.choices.empty()) return fmt::format("{}", fmt::join(key.choices, " | "));
  return key.range;
}

std::string type_and_limits(const RecipeKey& key) {
  if (key.type == "choice") return allowed(key);
  if (key.range.empty()) return key.type;
  return key.type == "share or file" ? fmt::format("share {}, or file", key.range) : key.type + " " + key.range;
}

std::string escape_table(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

}  // namespace

std::string to_yaml(const Recipe& recipe) {
  std::string text, section;
  for (const Field& field : detail::recipe_fields()) {
    std::string own = detail::section_of(field.info.key);
    // Only generic files may name all columns, see parse_recipe.
    if (own == "data.columns" && !reads_generic(recipe) && is_of_generic(detail::leaf_of(field.info.key))) continue;
    if (own != section && !section.starts_with(own + ".") && !own.empty())
      text += fmt::format("{}{}:\n", indent(detail::section_of(own)), detail::leaf_of(own));
    section = own;
    text += fmt::format("{}{}: {}\n", indent(own), detail::leaf_of(field.info.key), field.write(recipe));
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> recipe_values(const Recipe& recipe) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const Field& field : detail::recipe_fields()) values.emplace_back(field.info.key, field.write(recipe));
  return values;
}

std::vector<RecipeKey> recipe_keys() {
  std::vector<RecipeKey> keys;
  for (const Field& field : detail::recipe_fields()) keys.push_back(field.info);
  return keys;
}

std::string recipe_help() {
  std::string text;
  std::string section = "?";
  for (const RecipeKey& key : recipe_keys()) {
    std::string own = detail::section_of(key.key);
    own = own.substr(0, own.find('.'));
    if (own != section) text += text.empty() ? "" : "\n";
    section = own;
    text += fmt::format("  {} = {}\n      {} ({})\n", key.key, key.required ? "(required)" : key.default_value,
                        key.help, type_and_limits(key));
  }
  return text;
}

std::string recipe_markdown() {
  std::string text = "| key | default | values | what it does |\n|---|---|---|---|\n";
  for (const RecipeKey& key : recipe_keys())
    text += fmt::format("| `{}` | {} | {} | {} |\n", key.key,
                        key.required ? "required" : fmt::format("`{}`", key.default_value),
                        escape_table(type_and_limits(key)), escape_table(key.help));
  return text;
}

}  // namespace gavel
