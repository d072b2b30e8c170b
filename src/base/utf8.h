#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace gavel {

bool is_valid_utf8(std::string_view text);

/** Every maximal part that is not UTF-8 becomes one U+FFFD, as Rust's String::from_utf8_lossy and the Unicode
 * standard (section 3.9, "substitution of maximal subparts") have it. Appends to `out`; returns how many
 * were replaced. */
size_t append_lossy(std::string& out, std::string_view text);

/** Appends one character; surrogates and values above U+10FFFF become U+FFFD. */
void append_utf8(std::string& out, uint32_t code_point);

}  // namespace gavel
