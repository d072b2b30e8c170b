#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/** Texts as Python has them: sequences of characters, not of bytes. All texts here are valid UTF-8. */
namespace gavel::python {

/** The character that begins at byte `at`, which moves behind it. */
char32_t next_character(std::string_view text, size_t& at);
size_t length(std::string_view text);
/** The byte at which character number `index` begins; the text's size when there are not so many. */
size_t byte_of(std::string_view text, size_t index);
bool is_ascii(std::string_view text);

/** str.isspace() of one character. */
bool is_space(char32_t c);
/** str.strip(), lstrip(), rstrip(). */
std::string_view strip(std::string_view text, bool left = true, bool right = true);
/** The same of any of `chars`. */
std::string_view strip(std::string_view text, std::string_view chars, bool left, bool right);
/** str.splitlines(). */
std::vector<std::string_view> split_lines(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);

/** repr() of a text and of a number. */
std::string repr(std::string_view text);
std::string repr(double value);
/** json.dumps(text, ensure_ascii=False). */
std::string json(std::string_view text);

}  // namespace gavel::python
