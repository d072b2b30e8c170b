#include "serve/form_parts.h"

#include "base/error.h"
#include "judge/pair_json.h"

namespace gavel {

namespace {

std::string text_of(const nlohmann::json& value, const char* key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("text") && value["text"].is_string()) return value["text"].get<std::string>();
  fail("key '{}': expected a text, found {}", key, value.type_name());
}

}  // namespace

nlohmann::json object_of(std::string_view body) {
  nlohmann::json object = parse_shallow(body);
  if (!object.is_object()) fail("expected an object, found {}", object.type_name());
  return object;
}

std::vector<std::string> texts_of(const nlohmann::json& object, const char* key) {
  if (!object.contains(key)) fail("key '{}' is missing", key);
  const nlohmann::json& value = object[key];
  if (!value.is_array()) return {text_of(value, key)};
  if (value.empty()) fail("key '{}' is an empty list", key);
  std::vector<std::string> texts;
  for (const auto& item : value) texts.push_back(text_of(item, key));
  return texts;
}

std::optional<bool> flag_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (!found->is_boolean()) fail("key '{}': expected true or false", key);
  return found->get<bool>();
}

std::vector<PreferenceRow> rows_within(std::span<const Candidates> all, size_t most_pairs) {
  std::vector<PreferenceRow> rows = candidate_rows(all);
  if (rows.size() > most_pairs) fail("at most {} answers are taken at once", 2 * most_pairs);
  return rows;
}

}  // namespace gavel
