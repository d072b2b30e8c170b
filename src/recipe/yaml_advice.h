#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace gavel::detail {

/** What is wrong with a text that the YAML library refuses at `line` (from 0), in words for people who write recipes: a tab,
 * a line that is indented otherwise than its neighbours, a missing space or colon, a value that needs quotes. `refusal`:
 * the library's own words, which are returned where none of these is seen. */
std::string yaml_advice(std::string_view text, size_t line, const std::string& refusal);

/** " (…)" where a value holds a setting whose colon has no space behind it ("2 seed:1"), else "". */
std::string missing_space_hint(std::string_view value);

}  // namespace gavel::detail
