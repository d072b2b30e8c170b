#pragma once
#include <string>
#include <string_view>

namespace gavel {

/** The text with NaN, Infinity and -Infinity, which Python's json writes and no JSON has, as texts in quotes. So they are
 * refused by name where a number is read, and may stand where nobody reads them. */
std::string quote_python_numbers(std::string_view text);

}  // namespace gavel
