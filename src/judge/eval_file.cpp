#include "judge/eval_file.h"

#include "rows/row_stream.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

constexpr size_t kWindow = 4096;

/** More rows' words would take gigabytes. */
constexpr size_t kMostWordRows = 50'000;

void add_baseline_row(std::vector<BaselineRow>& rows, const PreferenceRow& row) {
  if (rows.size() == kMostWordRows)
    for (BaselineRow& one : rows) std::vector<Term>().swap(one.words);
  rows.push_back(baseline_row(row, rows.size() < kMostWordRows));
}

std::vector<BaselineRow> baseline_rows_of(const std::filesystem::path& path, const ReadOptions& read) {
  RowStream stream(path, read);
  std::vector<BaselineRow> rows;
  std::vector<PreferenceRow> block;
  while (stream.next_block(block))
    for (const PreferenceRow& row : block) add_baseline_row(rows, row);
  return rows;
}

std::array<double, 3> wide(const std::array<float, 3>& label) {
  return {label[0], label[1], label[2]};
}

}  // namespace

FileEvaluation evaluate_file(Judge& judge, const std::filesystem::path& path, double swap_average,
                             const std::optional<std::filesystem::path>& baselines_from,
                             const std::function<void(int64_t, int64_t)>& progress) {
  ReadOptions read = read_options(judge.recipe(), Purpose::kTrain);
  if (read.format == Format::kScored)
    fail(
        "{}: figures of single answers' scores (data.format: scored) are not made yet: gavel predict writes the "
        "rewards; "
        "or give pairs of answers and their data.format=…",
        path.string());
  // Before the long work, which a broken file would make idle.
  FileEvaluation found;
  if (baselines_from) found.fitted_on = baseline_rows_of(*baselines_from, read);
  const int64_t total = count_rows(path, read);
  RowStream stream(path, read);
  std::vector<PreferenceRow> block, window;
  auto judge_window = [&] {
    auto before = static_cast<int64_t>(found.rows.size());
    auto verdicts = judge.judge(window, swap_average, [&](int64_t done) {
      if (progress) progress(before + done, total);
    });
    for (size_t i = 0; i < window.size(); ++i) {
      const PreferenceRow& row = window[i];
      const Verdict& verdict = verdicts[i];
      auto turns = static_cast<int64_t>(Template::num_rounds(row));
      found.rows.push_back({row.id, row.source_row, verdict.length + verdict.length_b, turns, wide(row.label),
                            verdict.probabilities, verdict.rewards});
      found.calibration_rows.push_back({verdict.logits, verdict.swapped_logits, wide(row.label)});
      add_baseline_row(found.baseline_rows, row);
      found.swapped_rows += verdict.swapped_logits.has_value();
      found.flipped_rows += verdict.flipped();
    }
    window.clear();
  };
  while (stream.next_block(block))
    for (PreferenceRow& row : block) {
      window.push_back(std::move(row));
      if (window.size() == kWindow) judge_window();
    }
  if (!window.empty()) judge_window();
  found.report = stream.report();
  found.scores = score(found.rows);
  found.baselines = score_baselines(found.baseline_rows, found.fitted_on);
  return found;
}

}  // namespace gavel
