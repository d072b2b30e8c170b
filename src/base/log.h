#pragma once
#include <spdlog/spdlog.h>

namespace gavel {

/** The one logger: plain lines on standard error (standard output is for results). The only global state. */
void setup_logging(bool quiet);

}  // namespace gavel
