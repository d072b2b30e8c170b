#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** How a file is to be read. */
struct Layout {
  Format format = Format::kLmsys;
  /** As the format is called in data.format. */
  std::string_view name;
  /** For kLmsys and kGeneric. */
  Cells cells = Cells::kJson;
  /** For kGeneric: those that its names and places suggest. */
  Columns columns;
  /** Whether there are columns that tell of votes (or scores). */
  bool votes = true;
  /** What it is told by. */
  std::string why;
  /** What is to be settled by a person before training; "" = nothing. */
  std::string open_question;
};

/** The layouts that have the columns `header`: of the known formats all that fit, else at most one of kGeneric. */
std::vector<Layout> layouts_of(const std::vector<std::string>& header);

/** The one layout of a file, by its columns and first rows. Throws Error naming the file when none fits, when several do, and as
 * opening it does. */
Layout recognize_layout(const std::filesystem::path& path);

namespace detail {

/** What to do about a column that is not in `header`: the format that has such columns, if one has. */
std::string format_hint(const std::vector<std::string>& header);

}  // namespace detail
}  // namespace gavel
