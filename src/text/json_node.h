#pragma once
#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace gavel {

/** Typed access to one value of a JSON document. Every function throws Error naming the place when the value is missing
 * or of another type. */
struct JsonNode {
  simdjson::dom::element value;
  std::string where;  // "tokenizer.json: model"

  bool has(std::string_view key) const {
    simdjson::dom::element found;
    return value.at_key(key).get(found) == simdjson::SUCCESS && found.type() != simdjson::dom::element_type::NULL_VALUE;
  }
  JsonNode get(std::string_view key) const {
    simdjson::dom::element found;
    if (value.at_key(key).get(found) != simdjson::SUCCESS) fail("{}: the key \"{}\" is missing", where, key);
    return {found, fmt::format("{}.{}", where, key)};
  }
  std::string_view text() const {
    std::string_view out;
    if (value.get(out) != simdjson::SUCCESS) fail("{}: expected a string", where);
    return out;
  }
  bool truth() const {
    bool out = false;
    if (value.get(out) != simdjson::SUCCESS) fail("{}: expected true or false", where);
    return out;
  }
  uint64_t number() const {
    uint64_t out = 0;
    if (value.get(out) != simdjson::SUCCESS) fail("{}: expected a whole number, zero or more", where);
    return out;
  }
  simdjson::dom::array array() const {
    simdjson::dom::array out;
    if (value.get(out) != simdjson::SUCCESS) fail("{}: expected an array", where);
    return out;
  }
  simdjson::dom::object object() const {
    simdjson::dom::object out;
    if (value.get(out) != simdjson::SUCCESS) fail("{}: expected an object", where);
    return out;
  }
  bool flag(std::string_view key, bool otherwise) const { return has(key) ? get(key).truth() : otherwise; }
  std::string type() const { return std::string(get("type").text()); }
};

}  // namespace gavel
