#include "recipe/data_files.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "recipe/codec.h"

namespace gavel {

std::string DataFiles::text() const {
  if (files.empty()) return "";
  if (files.size() == 1) return files[0].path;
  return fmt::format("{} and {} other{}", files[0].path, files.size() - 1, files.size() == 2 ? "" : "s");
}

bool reads_generic(const Recipe& recipe) {
  const std::vector<DataFile>& files = recipe.data.train.files;
  return recipe.data.format == Format::kGeneric ||
         std::any_of(files.begin(), files.end(), [](const DataFile& file) { return file.format == Format::kGeneric; });
}

namespace detail {

namespace {

template <class Choice>
std::string read_optional_choice(const RawValue& raw, std::optional<Choice>& out) {
  Choice choice{};
  std::string problem = read_named_choice(raw, choice);
  if (problem.empty()) out = choice;
  return problem;
}

/** A path, or {path, weight, rows, format, cells}. */
std::string read_file(const RawValue& raw, DataFile& out) {
  if (raw.kind != RawValue::Kind::kMap) return read_value(raw, Limits(), out.path);
  const std::vector<std::string> known = {"path", "weight", "rows", "format", "cells"};
  for (const RawValue& value : raw.items) {
    const std::string& key = value.key;
    std::string problem;
    if (key == "path")
      problem = read_value(value, Limits(), out.path);
    else if (key == "weight")
      problem = read_value(value, file_weight_limits(), out.weight);
    else if (key == "rows")
      problem = read_value(value, file_rows_limits(), out.rows);
    else if (key == "format")
      problem = read_optional_choice(value, out.format);
    else if (key == "cells")
      problem = read_optional_choice(value, out.cells);
    else
      problem = fmt::format("unknown key; a file has {}{}", fmt::join(known, ", "), did_you_mean(key, known));
    if (!problem.empty()) return fmt::format("{}: {}", key.substr(0, 100), problem);
  }
  return out.path.empty() ? "expected a file's path, or {path, weight, rows, format, cells}; found no path" : "";
}

std::string write_file_item(const DataFile& file) {
  if (file == DataFile{.path = file.path}) return write_value(file.path);
  std::string text = "{path: " + write_value(file.path);
  if (file.weight != 1) text += ", weight: " + write_value(file.weight);
  if (file.rows) text += ", rows: " + write_value(*file.rows);
  if (file.format) text += fmt::format(", format: {}", choice_name(*file.format));
  if (file.cells) text += fmt::format(", cells: {}", choice_name(*file.cells));
  return text + "}";
}

}  // namespace

Limits file_weight_limits() {
  return {.min = 0, .max = 1e6, .above_min = true};
}

Limits file_rows_limits() {
  return {.min = 1, .max = 1e12};
}

std::string read_value(const RawValue& raw, const Limits&, DataFiles& out) {
  DataFiles files;
  if (raw.kind == RawValue::Kind::kList) {
    if (raw.items.empty()) return "expected a file or a list of files, found an empty list";
    for (size_t i = 0; i < raw.items.size(); ++i)
      if (std::string problem = read_file(raw.items[i], files.files.emplace_back()); !problem.empty())
        return fmt::format("file {} of the list: {}", i + 1, problem);
  } else if (std::string problem = read_file(raw, files.files.emplace_back()); !problem.empty()) {
    return problem;
  }
  out = std::move(files);
  return "";
}

std::string write_value(const DataFiles& value) {
  if (value.files.size() == 1 && value.files[0] == DataFile{.path = value.files[0].path})
    return write_value(value.files[0].path);
  std::string text;
  for (const DataFile& file : value.files) text += (text.empty() ? "" : ", ") + write_file_item(file);
  return "[" + text + "]";
}

}  // namespace detail
}  // namespace gavel
