#include "setup/layout_recipe.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "recipe/codec.h"
#include "recipe/recipe.h"

namespace gavel {

namespace {

/** Settings of the section `data`, as "key", "value"; columns are "columns.key". */
std::vector<std::pair<std::string, std::string>> data_settings(const Layout& layout) {
  std::vector<std::pair<std::string, std::string>> out = {{"format", std::string(choice_name(layout.format))}};
  if (layout.format == Format::kGeneric) {
    const Columns& c = layout.columns;
    for (const auto& [key, column] : {std::pair{"id", c.id},
                                      {"prompt", c.prompt},
                                      {"response_a", c.response_a},
                                      {"response_b", c.response_b},
                                      {"label_a", c.label_a},
                                      {"label_b", c.label_b},
                                      {"label_tie", c.label_tie},
                                      {"winner", c.winner}})
      if (!column.empty()) out.emplace_back(std::string("columns.") + key, detail::write_value(column));
  }
  if (layout.cells != Cells::kJson) out.emplace_back("cells", std::string(choice_name(layout.cells)));
  return out;
}

}  // namespace

std::vector<std::string> layout_settings(const Layout& layout) {
  std::vector<std::string> out;
  for (const auto& [key, value] : data_settings(layout)) out.push_back(fmt::format("data.{}={}", key, value));
  // One answer a row is for a reward alone.
  if (layout.format == Format::kScored) out.insert(out.end(), {"task=reward", "reward.loss=regression"});
  return out;
}

std::string layout_recipe(const Layout& layout) {
  std::vector<std::string> columns, rest;
  for (const auto& [key, value] : data_settings(layout)) {
    constexpr std::string_view kColumns = "columns.";
    if (key.starts_with(kColumns))
      columns.push_back(fmt::format("{}: {}", key.substr(kColumns.size()), value));
    else
      rest.push_back(fmt::format("{}: {}", key, value));
  }
  if (!columns.empty()) rest.insert(rest.begin() + 1, fmt::format("columns: {{{}}}", fmt::join(columns, ", ")));
  std::string out = fmt::format("data: {{{}}}\n", fmt::join(rest, ", "));
  if (layout.format == Format::kScored) out = "task: reward\nreward: {loss: regression}\n" + out;
  if (layout.format == Format::kChosen)
    out += "# with task: judge also data: {swap: random}, since A is always the chosen answer\n";
  return out;
}

std::string describe_layout(const std::string& path, const Layout& layout) {
  std::string out =
      fmt::format("{}: read as data.format: {}, told by {}\n{}", path, layout.name, layout.why, layout_recipe(layout));
  if (!layout.open_question.empty()) out += layout.open_question + "\n";
  return out;
}

std::string doubt_about_layout(const std::filesystem::path& path, const ReadOptions& options) {
  if (options.format != Format::kWsdm) return "";
  try {
    const Layout found = recognize_layout(path);
    if (found.format == Format::kGeneric && found.cells == Cells::kJson)
      return fmt::format(
          "{}: the texts are lists of turns, and data.format: wsdm takes them as they are written: in a "
          "recipe {}",
          path.string(), layout_recipe(found));
  } catch (const Error&) {
    // Several may fit: the recipe has named one.
  }
  return "";
}

}  // namespace gavel
