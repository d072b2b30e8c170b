#pragma once
#include <string>
#include <string_view>

#include "rows/cells.h"

namespace gavel::detail {

/** Reads what Python's str() makes of a list of texts and None, ['a', "it's"], or NumPy's of an array, ['a' 'b']: pandas
 * writes them into CSV. Returns "" or why it is neither; `out` then holds a part of it. */
std::string parse_python_list(std::string_view text, Turns& out);

/** Whether a cell that is no JSON list begins as a Python list does. */
bool begins_as_python_list(std::string_view text);

}  // namespace gavel::detail
