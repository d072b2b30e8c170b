#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace gavel {

/** A text for people, parts of which may come from anybody's file: what a terminal acts on (escapes, bells, a carriage return,
 * NUL), what turns the direction of writing, and what is no UTF-8 is written out, as "\x1b"; line breaks and tabs stay. Of a text
 * of more than `most` bytes the beginning and the end are left. */
std::string printable(std::string_view text, size_t most = 16 << 10);

/** Whether text has colours where it is written to a terminal or (`terminal` = false) elsewhere: NO_COLOR turns them off,
 * else CLICOLOR_FORCE on, else CLICOLOR=0 off, and without these a terminal that has colours (TERM) gets them. */
bool shows_colours(bool terminal);

/** Whether standard error is a terminal on which a line can be redrawn. */
bool stderr_is_terminal();

}  // namespace gavel
