#pragma once
#include <spdlog/spdlog.h>

namespace gavel {

/** Sets spdlog's default logger, which the whole process uses: messages without time and level, on standard error since
 * standard output is for results. `quiet`: warnings and errors alone. */
void setup_logging(bool quiet);

}  // namespace gavel
