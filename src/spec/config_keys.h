#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace gavel {

/** Typed reads of one object of a config.json. Each throws Error naming the file and the key when what is there is of
 * another type; a key that is null counts as not there. */
class ConfigKeys {
 public:
  using Json = nlohmann::ordered_json;
  /** `name` stands for the file in messages; the object must outlive this. */
  ConfigKeys(const Json& json, std::string name) : json_(json), name_(std::move(name)) {}

  /** Whether the key is there at all, be it null. */
  bool mentions(const char* key) const { return json_.contains(key); }
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  /** Throws when the key is missing. */
  int64_t integer(const char* key) const;
  int64_t integer(const char* key, int64_t fallback) const;
  double number(const char* key, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  /** A token id, or the first of a list of them. */
  std::optional<int64_t> token(const char* key) const;
  std::optional<ConfigKeys> object(const char* key) const;
  /** Lists, which must be there. */
  std::vector<double> numbers(const char* key) const;
  std::vector<int64_t> integers(const char* key) const;
  std::vector<std::string> texts(const char* key) const;
  bool empty() const { return json_.empty(); }
  const std::string& name() const { return name_; }
  const Json& json() const { return json_; }

 private:
  /** The key's list; throws when it is no list, or `fits` says no to a member. */
  const Json& list(const char* key, bool (*fits)(const Json&), const char* expected) const;

  const Json& json_;
  std::string name_;
};

/** A value for messages: a text is not poured out whole, and a nested value (whose printing recurses) not at all. */
std::string brief(const ConfigKeys::Json& value);

}  // namespace gavel
