#include "base/terminal.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace gavel {

namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool shows_colours(bool terminal) {
  if (!variable("NO_COLOR").empty()) return false;
  if (const std::string_view force = variable("CLICOLOR_FORCE"); !force.empty() && force != "0") return true;
  if (variable("CLICOLOR") == "0") return false;
  return terminal && !variable("TERM").empty() && variable("TERM") != "dumb";
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) != 0 && variable("TERM") != "dumb";
}

}  // namespace gavel
