#pragma once
#include <string>
#include <string_view>

namespace gavel {

/** A JSON Schema (draft 2020-12) of recipe files, made from the list of fields: types, limits, defaults, choices, help.
 * What contradicts another key (parse_recipe's checks) is not in it. Ends with a line break. */
std::string recipe_schema();

/** Whether the key's value is a file or a folder, or may be one. False for what is no key. */
bool names_a_path(std::string_view key);

}  // namespace gavel
