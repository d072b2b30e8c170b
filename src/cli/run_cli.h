#pragma once
#include "usage/build_info.h"

namespace gavel {

/** The whole program. Returns the exit status: 0; 1 for an Error or another failure; 2 for an unknown command; a
 * command's own, or CLI11's for wrong options. `build` is told by --version. */
int run_cli(int argc, const char* const* argv, const BuildInfo& build = {});

}  // namespace gavel
