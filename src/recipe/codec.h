#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "recipe/fields.h"

namespace gavel::detail {

// Each read_value sets `out` and returns "", or returns what was expected and what was found.
std::string read_value(const RawValue& raw, const Limits& limits, bool& out);
std::string read_value(const RawValue& raw, const Limits& limits, int64_t& out);
std::string read_value(const RawValue& raw, const Limits& limits, double& out);
std::string read_value(const RawValue& raw, const Limits& limits, std::string& out);
std::string read_value(const RawValue& raw, const Limits& limits, std::variant<double, std::string>& out);
std::string read_value(const RawValue& raw, const Limits& limits, std::vector<std::string>& out);
std::string read_value(const RawValue& raw, const Limits& limits, std::array<double, 3>& out);
/** Whole numbers and ranges of them ("8-29"), which come out sorted, each once. */
std::string read_value(const RawValue& raw, const Limits& limits, std::vector<int64_t>& out);
std::string read_value(const RawValue& raw, const Limits& limits, DataFiles& out);

template <class T>
std::string read_value(const RawValue& raw, const Limits& limits, std::optional<T>& out) {
  if (raw.kind == RawValue::Kind::kNull) {
    out.reset();
    return "";
  }
  T value{};
  std::string problem = read_value(raw, limits, value);
  if (problem.empty()) out = std::move(value);
  return problem;
}

/** Sets `index` to the place of the choice among `names` and returns "", or returns what was expected and found. */
std::string read_choice(const RawValue& raw, const std::vector<std::string>& names, size_t& index);

/** What `weight` and `rows` of a file of data.train may be. */
Limits file_weight_limits();
Limits file_rows_limits();

/** Reads a choice by the names that its setting has. Defined for the choices that a file of data.train may have of its own. */
template <class Choice>
std::string read_named_choice(const RawValue& raw, Choice& choice);

// Each write_value gives the value as YAML.
std::string write_value(bool value);
std::string write_value(int64_t value);
std::string write_value(double value);
/** Plain when that reads back as the same text, else in double quotes. */
std::string write_value(const std::string& value);
std::string write_value(const std::variant<double, std::string>& value);
std::string write_value(const std::vector<std::string>& value);
std::string write_value(const std::array<double, 3>& value);
std::string write_value(const std::vector<int64_t>& value);
std::string write_value(const DataFiles& value);

template <class T>
std::string write_value(const std::optional<T>& value) {
  return value ? write_value(*value) : "null";
}

}  // namespace gavel::detail
