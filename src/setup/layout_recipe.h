#pragma once
#include <string>
#include <vector>

#include "rows/layouts.h"

namespace gavel {

/** The settings that read a file of this layout, as `section.key=value`. */
std::vector<std::string> layout_settings(const Layout& layout);
/** The same as lines of a recipe, with what else a recipe needs for it. */
std::string layout_recipe(const Layout& layout);

/** What `gavel data` tells of a file whose format was not named: the layout, why, the recipe's lines, and what is open. */
std::string describe_layout(const std::string& path, const Layout& layout);

/** Why a file that can be read as `options` say is probably meant otherwise; "" when nothing speaks for it. */
std::string doubt_about_layout(const std::filesystem::path& path, const ReadOptions& options);

}  // namespace gavel
