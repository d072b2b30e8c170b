#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace gavel::detail {

/** A value as the file has it, before its key's type is asked for. Lists hold one level: what is nested
 * deeper has no items, so that a small file with many aliases cannot become large. */
struct RawValue {
  enum class Kind : uint8_t { kNull, kPlain, kQuoted, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;
  std::vector<RawValue> items;
  /** Texts need no quotes on the command line, even when they look like numbers. */
  bool from_command_line = false;
};

/** "the number 5", "the text 'abc'", "a list", …: for messages. */
std::string describe(const RawValue& value);

/** A key and how it gets to its place in a Recipe. */
struct Field {
  RecipeKey info;
  /** Names that other tools give this setting, to point from them to ours. */
  std::vector<std::string> synonyms;
  /** Sets the value; returns "" or what was expected and found. */
  std::function<std::string(Recipe&, const RawValue&)> read;
  /** The value as YAML. */
  std::function<std::string(const Recipe&)> write;
};

/** All fields in order; the one place where keys are declared. */
const std::vector<Field>& recipe_fields();

const Field* find_field(std::string_view key);
/** Whether keys begin with "name.". */
bool is_section(std::string_view name);
/** " (did you mean '…'?)", or a list of what the section has. */
std::string key_hint(const std::string& unknown_key);

/** "train" of "train.seed", "" of "device". */
std::string section_of(std::string_view key);
std::string leaf_of(std::string_view key);

bool is_utf8(std::string_view text);

}  // namespace gavel::detail
