#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** Anything wrong that a user can mend: the text names the file and the row, tensor or key, what was
 * expected, what was found, and what to do. The command line prints it and exits with status 1. */
class Error : public std::runtime_error {
 public:
  /** A NUL in the text, which what() would end at, is written out as "\x00". */
  explicit Error(const std::string& text);
};

/** Throws Error with a formatted text. */
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/** The candidate closest to `name` by edit distance, or "" when none is near: at most a third of the letters of `name`,
 * or two, may differ. For "did you mean" hints. */
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/** Like " (did you mean 'x'?)", or "" when nothing is near. */
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace gavel
