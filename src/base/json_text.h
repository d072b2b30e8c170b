#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace gavel {

/** Whether the text opens more than `levels` arrays and objects in one another. What copies, prints and frees such JSON calls
 * itself once a level, so it is asked before a stranger's text is parsed. */
bool json_is_deeper(std::string_view text, int levels);

/** More levels than any file of ours or of Hugging Face's comes near. */
inline constexpr int kDeepestJson = 256;

/** `text` as it is; throws Error naming `place` when it is deeper than kDeepestJson. */
std::string_view within_json_depth(std::string_view text, std::string_view place);

/** A whole JSON file; throws Error naming it as read_text() does, and when it is deeper than kDeepestJson. */
std::string read_json_text(const std::filesystem::path& path);

/** The text with NaN, Infinity and -Infinity, which Python's json writes and no JSON has, as texts in quotes. So they are
 * refused by name where a number is read, and may stand where nobody reads them. */
std::string quote_python_numbers(std::string_view text);

}  // namespace gavel
