#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** The cells of a column that is no part of a PreferenceRow (a subset's name), as texts: of PreferenceRow::source_row 1, 2, ….
 * `options` are those that the file's rows are read with. Nothing when there is no such column: in a JSONL file, when the first
 * line has no such key. Throws Error as read_preferences() does, and when a later line has no such key. */
std::optional<std::vector<std::string>> column_texts(const std::filesystem::path& path, const std::string& column,
                                                     const ReadOptions& options);

}  // namespace gavel
