#include "recipe/schema.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "recipe/choices.h"
#include "recipe/codec.h"

namespace gavel {

namespace {

using detail::Field;
using detail::Limits;
using Json = nlohmann::ordered_json;

/** Whole numbers without a fraction, as people write them. */
Json number(double value) {
  constexpr double kExact = 9007199254740992.0;
  if (value == std::floor(value) && std::abs(value) < kExact) return static_cast<int64_t>(value);
  return value;
}

Json within(Json schema, const Limits& limits) {
  if (std::isfinite(limits.min)) schema[limits.above_min ? "exclusiveMinimum" : "minimum"] = number(limits.min);
  if (std::isfinite(limits.max)) schema[limits.below_max ? "exclusiveMaximum" : "maximum"] = number(limits.max);
  return schema;
}

Json text_schema() {
  return {{"type", "string"}, {"minLength", 1}};
}

/** Items with commas between them, in a text. */
std::string pattern_of_items(const std::string& item, int more_from = 0, int more_to = -1) {
  const std::string times = more_to < 0 ? "*" : fmt::format("{{{},{}}}", more_from, more_to);
  return fmt::format("^ *({})( *, *({})){} *$", item, item, times);
}

Json pattern_schema(const std::string& pattern) {
  return {{"type", "string"}, {"pattern", pattern}};
}

template <class Choice>
Json choices_schema(Choice) {
  Json names = Json::array();
  for (const auto& [value, name] : detail::choices_of(Choice{})) names.push_back(name);
  return {{"enum", names}};
}

/** A path, or {path, weight, rows, format, cells}. */
Json file_schema() {
  const Json file = {
      {"type", "object"},
      {"properties",
       {{"path", text_schema()},
        {"weight", within({{"type", "number"}, {"default", 1}}, detail::file_weight_limits())},
        {"rows", within({{"type", {"integer", "null"}}, {"default", nullptr}}, detail::file_rows_limits())},
        {"format", choices_schema(Format{})},
        {"cells", choices_schema(Cells{})}}},
      {"required", {"path"}},
      {"additionalProperties", false}};
  return {{"anyOf", {text_schema(), file}}};
}

Json list_of_names(const Limits& limits) {
  if (limits.names.empty()) {
    // What looks like a number is a name too.
    const Json name = {{"type", {"string", "number", "boolean"}}, {"minLength", 1}};
    return {{"anyOf", {name, {{"type", "array"}, {"items", name}}}}};
  }
  const Json list = {{"type", "array"}, {"items", {{"enum", limits.names}}}, {"minItems", 1}, {"uniqueItems", true}};
  return {{"anyOf",
           {list,
            {{"const", "all-linear"}},
            pattern_schema(pattern_of_items(fmt::format("{}", fmt::join(limits.names, "|"))))}}};
}

/** Of the type that the field says it has. */
Json value_schema(const Field& field) {
  const std::string& type = field.info.type;
  const Limits& limits = field.limits;
  if (type == "true or false") return {{"type", "boolean"}};
  if (type == "integer") return within({{"type", "integer"}}, limits);
  if (type == "number") return within({{"type", "number"}}, limits);
  if (type == "text") return text_schema();
  if (type == "choice") return {{"enum", field.info.choices}};
  if (type == "share or file") return {{"anyOf", {within({{"type", "number"}}, limits), text_schema()}}};
  if (type == "list of names") return list_of_names(limits);
  if (type == "list of numbers") {
    const Json one = within({{"type", "integer"}}, limits), range = pattern_schema("^[0-9]+(-[0-9]+)?$");
    return {{"anyOf",
             {{{"type", "array"}, {"items", {{"anyOf", {one, range}}}}, {"minItems", 1}},
              one,
              pattern_schema(pattern_of_items("[0-9]+(-[0-9]+)?"))}}};
  }
  if (type == "list of 3 numbers") {
    const Json list = {
        {"type", "array"}, {"items", within({{"type", "number"}}, limits)}, {"minItems", 3}, {"maxItems", 3}};
    return {{"anyOf", {list, pattern_schema(pattern_of_items("[0-9.eE+-]+", 2, 2))}}};
  }
  if (type == "file or list of files") {
    Json schema = file_schema();
    schema["anyOf"].push_back({{"type", "array"}, {"items", file_schema()}, {"minItems", 1}});
    return schema;
  }
  fail("recipe: the schema has no form for the type '{}' of {}", type, field.info.key);
}

Json with_null(Json schema) {
  if (schema.contains("anyOf"))
    schema["anyOf"].push_back({{"type", "null"}});
  else if (schema.contains("enum"))
    schema["enum"].push_back(nullptr);
  else
    schema["type"] = {schema["type"], "null"};
  return schema;
}

/** A default, which Field::write gives as YAML. */
Json default_of(const YAML::Node& node, bool text) {
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YAML::Node& item : node) list.push_back(default_of(item, text));
    return list;
  }
  if (node.IsNull()) return nullptr;
  const std::string& word = node.Scalar();
  if (text || node.Tag() == "!") return word;
  if (word == "true" || word == "false") return word == "true";
  const auto parsed = [&word](auto& out) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
    return error == std::errc() && end == word.data() + word.size();
  };
  int64_t whole = 0;
  double value = 0;
  if (parsed(whole)) return whole;
  if (parsed(value)) return value;
  return word;
}

Json field_schema(const Field& field) {
  Json schema = {{"description", field.info.help}};
  const Json value = field.nullable ? with_null(value_schema(field)) : value_schema(field);
  schema.update(value);
  const bool text = field.info.type == "text" || field.info.type == "choice" || field.info.type == "list of names";
  if (!field.info.required) schema["default"] = default_of(YAML::Load(field.info.default_value), text);
  return schema;
}

/** A section; one without a key that is required may be empty. */
Json empty_section(bool required) {
  Json schema;
  schema["type"] = required ? Json("object") : Json({"object", "null"});
  schema["properties"] = Json::object();
  schema["additionalProperties"] = false;
  return schema;
}

bool has_required(const std::string& section) {
  for (const Field& field : detail::recipe_fields())
    if (field.info.required && field.info.key.starts_with(section + ".")) return true;
  return false;
}

/** The object of a section, made where it is not there, in its parent's. */
Json& object_of(Json& root, const std::string& section) {
  if (section.empty()) return root;
  Json& parent = object_of(root, detail::section_of(section));
  const std::string name = detail::leaf_of(section);
  if (!parent["properties"].contains(name)) {
    parent["properties"][name] = empty_section(has_required(section));
    if (has_required(section)) parent["required"].push_back(name);
  }
  return parent["properties"][name];
}

}  // namespace

std::string recipe_schema() {
  Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
               {"title", "A recipe of Gavel"},
               {"description",
                "What gavel train reads. Made by gavel schema. What contradicts another key is found by Gavel alone."}};
  root.update(empty_section(true));
  for (const Field& field : detail::recipe_fields()) {
    Json& section = object_of(root, detail::section_of(field.info.key));
    const std::string name = detail::leaf_of(field.info.key);
    section["properties"][name] = field_schema(field);
    if (field.info.required) section["required"].push_back(name);
  }
  // The one section that a word may stand for.
  Json& mesh = root["properties"]["mesh"];
  mesh["type"].push_back("string");
  mesh["pattern"] = "^auto$";
  return root.dump(2) + "\n";
}

bool names_a_path(std::string_view key) {
  const Field* field = detail::find_field(key);
  return field != nullptr && field->path;
}

}  // namespace gavel
