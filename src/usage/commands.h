#pragma once
#include <CLI/CLI.hpp>

#include "usage/build_info.h"

namespace gavel {

/** schema, completion and man. `app` must outlive the parsing of the command line, which prints them. */
void add_usage_commands(CLI::App& app, const BuildInfo& build);

}  // namespace gavel
