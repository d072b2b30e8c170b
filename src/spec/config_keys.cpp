#include "spec/config_keys.h"

#include "base/error.h"

namespace gavel {

using Json = ConfigKeys::Json;

std::string brief(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "…";
}

int64_t ConfigKeys::integer(const char* key) const {
  if (!has(key)) fail("{}: key '{}' is missing", name_, key);
  return integer(key, 0);
}

int64_t ConfigKeys::integer(const char* key, int64_t fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_[key];
  if (!value.is_number_integer()) fail("{}: key '{}' must be a whole number, found {}", name_, key, brief(value));
  // A larger one would turn up negative.
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX})
    fail("{}: key '{}' is {}, which is too large", name_, key, value.get<uint64_t>());
  return value.get<int64_t>();
}

double ConfigKeys::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_[key];
  if (!value.is_number()) fail("{}: key '{}' must be a number, found {}", name_, key, brief(value));
  return value.get<double>();
}

bool ConfigKeys::boolean(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_[key];
  if (!value.is_boolean()) fail("{}: key '{}' must be true or false, found {}", name_, key, brief(value));
  return value.get<bool>();
}

std::string ConfigKeys::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  const Json& value = json_[key];
  if (!value.is_string()) fail("{}: key '{}' must be a text, found {}", name_, key, brief(value));
  return value.get<std::string>();
}

std::optional<int64_t> ConfigKeys::token(const char* key) const {
  if (!has(key)) return std::nullopt;
  const Json& value = json_[key];
  const Json& first = value.is_array() && !value.empty() ? value[0] : value;
  // Old configs write -1 for "none"; no vocabulary needs more than 32 bits.
  if (first.is_number_integer() && !first.is_number_unsigned() && first.get<int64_t>() < 0) return std::nullopt;
  if (first.is_number_integer() && first.get<uint64_t>() <= UINT32_MAX) return first.get<int64_t>();
  fail("{}: key '{}' must be a token id or a list of them, found {}", name_, key, brief(value));
}

std::optional<ConfigKeys> ConfigKeys::object(const char* key) const {
  if (!has(key)) return std::nullopt;
  if (!json_[key].is_object()) fail("{}: key '{}' must be an object, found {}", name_, key, brief(json_[key]));
  return ConfigKeys(json_[key], name_ + ": " + key);
}

const Json& ConfigKeys::list(const char* key, bool (*fits)(const Json&), const char* expected) const {
  if (!has(key)) fail("{}: key '{}' is missing", name_, key);
  const Json& value = json_[key];
  if (!value.is_array()) fail("{}: key '{}' must be a list of {}, found {}", name_, key, expected, brief(value));
  for (size_t i = 0; i < value.size(); ++i)
    if (!fits(value[i])) fail("{}: key '{}' has {} at {}, expected {}", name_, key, brief(value[i]), i, expected);
  return value;
}

std::vector<double> ConfigKeys::numbers(const char* key) const {
  return list(key, [](const Json& value) { return value.is_number(); }, "numbers").get<std::vector<double>>();
}

std::vector<int64_t> ConfigKeys::integers(const char* key) const {
  // A larger unsigned one would turn up negative.
  auto fits = [](const Json& value) {
    return value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
  };
  return list(key, fits, "whole numbers").get<std::vector<int64_t>>();
}

std::vector<std::string> ConfigKeys::texts(const char* key) const {
  return list(key, [](const Json& value) { return value.is_string(); }, "texts").get<std::vector<std::string>>();
}

}  // namespace gavel
