#include "judge/eval_beside.h"

#include "base/error.h"
#include "rows/column_texts.h"
#include "setup/run_options.h"

namespace gavel {

std::optional<std::vector<std::string>> subset_names(const std::filesystem::path& path,
                                                     const std::optional<std::string>& column, const Recipe& recipe) {
  // Its figures are refused by evaluate_file().
  if (recipe.data.format == Format::kScored) return std::nullopt;
  auto names = column_texts(path, column.value_or("subset"), read_options(recipe, Purpose::kTrain));
  if (!names && column) fail("{}: there is no column '{}' (--subset)", path.string(), *column);
  return names;
}

SubsetScores evaluate_subsets(const FileEvaluation& found, const std::vector<std::string>& names) {
  std::vector<std::string> of_rows;
  for (const JudgedRow& row : found.rows) of_rows.push_back(names.at(static_cast<size_t>(row.row) - 1));
  return score_subsets(found.rows, of_rows);
}

SideBySide evaluate_against(const FileEvaluation& found, const Recipe& recipe, const JudgeOptions& other,
                            const std::filesystem::path& path, double swap_average,
                            const std::function<void(int64_t, int64_t)>& progress) {
  Judge judge(other);
  const FileEvaluation against = evaluate_file(judge, path, swap_average, std::nullopt, progress);
  const bool ties = task_of(recipe)->ties() == Ties::kOutcome && task_of(judge.recipe())->ties() == Ties::kOutcome;
  return compare_rows(found.rows, against.rows, ties);
}

}  // namespace gavel
