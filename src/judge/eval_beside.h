#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "figures/side_by_side.h"
#include "figures/subset_scores.h"
#include "judge/eval_file.h"

namespace gavel {

/** The subset of each row of a file, by source row: its column `column`, or "subset" where the file has it; nothing where it
 * does not. `recipe`: of the judge, which says how the file is read. Throws Error when `column` is not in the file. */
std::optional<std::vector<std::string>> subset_names(const std::filesystem::path& path,
                                                     const std::optional<std::string>& column, const Recipe& recipe);
/** The figures of each; `names` as subset_names() gives them. */
SubsetScores evaluate_subsets(const FileEvaluation& found, const std::vector<std::string>& names);

/** Judges the file by another adapter, and compares row by row. `recipe`: of the judge that `found` is of, which may be gone. */
SideBySide evaluate_against(const FileEvaluation& found, const Recipe& recipe, const JudgeOptions& other,
                            const std::filesystem::path& path, double swap_average,
                            const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace gavel
