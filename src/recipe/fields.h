#pragma once
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace gavel::detail {

/** A value as it stands in the file, not yet read as the type of its key. Only lists of one level, and mappings of single
 * values in them, are kept: what is nested deeper has no items, so that a small file with many YAML aliases cannot become
 * large. */
struct RawValue {
  enum class Kind : uint8_t { kNull, kPlain, kQuoted, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;
  /** Of a list, or of a mapping, where each has its key. */
  std::vector<RawValue> items;
  std::string key;
  /** Texts need no quotes on the command line, even when they look like numbers. */
  bool from_command_line = false;
};

/** "the number 5", "the text 'abc'", "a list", …: for messages. */
std::string describe(const RawValue& value);

/** Which values of a setting's type are allowed. */
struct Limits {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool below_max = false;  // max itself is not allowed
  bool above_min = false;
  /** Allowed items of a list. */
  std::vector<std::string> names;

  bool allow(double value) const;
  /** "0 or more", "0 to 1 (1 excluded)", or "". */
  std::string text() const;
};

/** A key, and how its value is read into a Recipe and written. */
struct Field {
  RecipeKey info;
  /** Names that other tools give this setting: an unknown key among them is answered with this one. */
  std::vector<std::string> synonyms;
  Limits limits;
  bool nullable = false;  // null is a value of its own
  bool path = false;      // names a file or a folder
  /** Sets the value; returns "" or what was expected and found. */
  std::function<std::string(Recipe&, const RawValue&)> read;
  /** The value as YAML. */
  std::function<std::string(const Recipe&)> write;
};

/** All fields in order; the one place where keys are declared. */
const std::vector<Field>& recipe_fields();

/** nullptr when there is no such key. */
const Field* find_field(std::string_view key);
/** Whether any key begins with "name.". */
bool is_section(std::string_view name);
/** For messages: " (did you mean '…'?)", or a list of the keys that the section has. */
std::string key_hint(const std::string& unknown_key);

/** "train" of "train.seed", "" of "device". */
std::string section_of(std::string_view key);
std::string leaf_of(std::string_view key);

bool is_utf8(std::string_view text);

}  // namespace gavel::detail
