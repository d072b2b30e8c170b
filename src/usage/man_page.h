#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "usage/build_info.h"

namespace gavel {

/** The manual page gavel(1) in the macros of man(7): the commands and options of `app`, and the keys of recipes. */
std::string man_page(const CLI::App& app, const BuildInfo& build);

}  // namespace gavel
