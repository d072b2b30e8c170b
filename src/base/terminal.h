#pragma once

namespace gavel {

/** Whether text has colours where it is written to a terminal or (`terminal` = false) elsewhere: NO_COLOR turns them off,
 * else CLICOLOR_FORCE on, else CLICOLOR=0 off, and without these a terminal that has colours (TERM) gets them. */
bool shows_colours(bool terminal);

/** Whether standard error is a terminal on which a line can be redrawn. */
bool stderr_is_terminal();

}  // namespace gavel
