#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace gavel {

bool valid_utf8(std::string_view text);

/** Appends the text to `out` with every maximal invalid part replaced by U+FFFD, as Rust's
 * `String::from_utf8_lossy` and the Unicode standard (section 3.9) do. Returns the number of replacements. */
int64_t append_repaired_utf8(std::string_view text, std::string& out);

/** Appends one code point; surrogates and values above U+10FFFF become U+FFFD. */
void append_code_point(uint32_t code_point, std::string& out);

}  // namespace gavel
