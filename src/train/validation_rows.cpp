#include "train/validation_rows.h"

#include <vector>

#include "report/validation_file.h"

namespace gavel {

void write_validation_rows(const std::filesystem::path& path, int64_t step, const TokenizedDataset& dataset,
                           const Judgement& judgement) {
  std::vector<JudgedRow> rows;
  for (int64_t i = 0; i < dataset.num_rows(); ++i) {
    JudgedRow& row = rows.emplace_back();
    row.row = dataset.source_row(i);
    row.tokens = dataset.length(i);
    auto label = dataset.label(i);
    for (size_t c = 0; c < row.label.size(); ++c) row.label[c] = label[c];
    row.probabilities = judgement.probabilities[static_cast<size_t>(i)];
    if (judgement.rewards.empty()) continue;
    row.rewards = judgement.rewards[static_cast<size_t>(i)];
    row.tokens += dataset.length(i, true);
  }
  write_validation(path, step, rows);
}

}  // namespace gavel
