#include "figures/side_by_side.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

bool prefers_one(const JudgedRow& row) {
  return row.label[0] != row.label[1] && std::max(row.label[0], row.label[1]) > row.label[2];
}

/** The row as one of two outcomes. */
JudgedRow without_tie(JudgedRow row) {
  for (auto* values : {&row.label, &row.probabilities}) {
    const double sum = (*values)[0] + (*values)[1];
    // A judge that is sure of a tie says nothing of A and B.
    *values = sum > 0 ? std::array{(*values)[0] / sum, (*values)[1] / sum, 0.0} : std::array{0.5, 0.5, 0.0};
  }
  return row;
}

MeanWithError mean_with_error(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double value : values) mean += value / count;
  for (double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() < 2 ? std::nan("") : std::sqrt(squares / (count - 1) / count)};
}

}  // namespace

SideBySide compare_rows(std::span<const JudgedRow> first, std::span<const JudgedRow> second, bool ties) {
  std::unordered_map<int64_t, const JudgedRow*> others;
  for (const JudgedRow& row : second) others[row.row] = &row;
  SideBySide found;
  found.ties = ties;
  std::vector<double> losses, hits;
  int64_t in_both = 0;
  for (const JudgedRow& row : first) {
    const auto other = others.find(row.row);
    if (other == others.end()) {
      ++found.left_out;
      continue;
    }
    ++in_both;
    JudgedRow a = row, b = *other->second;
    if (!ties) {
      if (!prefers_one(a) || !prefers_one(b)) {
        ++found.left_out;
        continue;
      }
      a = without_tie(std::move(a));
      b = without_tie(std::move(b));
    }
    ++found.rows;
    losses.push_back(a.loss() - b.loss());
    hits.push_back(static_cast<double>(a.right()) - static_cast<double>(b.right()));
    found.log_loss[0] += a.loss();
    found.log_loss[1] += b.loss();
    found.accuracy[0] += a.right();
    found.accuracy[1] += b.right();
    found.agreement += a.verdict() == b.verdict();
  }
  found.left_out += static_cast<int64_t>(others.size()) - in_both;
  if (found.rows == 0) fail("side by side: no row is left that both judge{}", ties ? "" : " and that is no tie");
  const auto count = static_cast<double>(found.rows);
  for (size_t i = 0; i < 2; ++i) {
    found.log_loss[i] /= count;
    found.accuracy[i] /= count;
  }
  found.agreement /= count;
  found.log_loss_difference = mean_with_error(losses);
  found.accuracy_difference = mean_with_error(hits);
  return found;
}

std::string format_side_by_side(const SideBySide& found, const std::array<std::string, 2>& names) {
  std::vector<std::vector<std::string>> table;
  for (size_t i = 0; i < 2; ++i)
    table.push_back({names[i], fmt::format("{:.6f}", found.log_loss[i]), fmt::format("{:.6f}", found.accuracy[i])});
  auto signed_text = [](const MeanWithError& value) {
    return fmt::format("{:+.6f} ± {:.6f}", value.mean, value.error);
  };
  table.push_back(
      {"difference ± standard error", signed_text(found.log_loss_difference), signed_text(found.accuracy_difference)});
  return fmt::format(
      "side by side on {} rows{}{}\n\n{}\nthe same verdict on {:.2f} % of the rows\n", format_count(found.rows),
      found.left_out > 0 ? fmt::format(", {} left out", format_count(found.left_out)) : "",
      found.ties ? ""
                 : ": one of the two has no outcome tie, so that ties are left out and both share A and B "
                   "out anew",
      format_table({"", "log loss", "accuracy"}, table, {Align::kLeft, Align::kRight, Align::kRight}),
      100 * found.agreement);
}

nlohmann::ordered_json side_by_side_json(const SideBySide& found, const std::string& other) {
  auto with_error = [](const MeanWithError& value) {
    return nlohmann::ordered_json{{"mean", value.mean}, {"standard_error", value.error}};
  };
  return {{"adapter", other},
          {"rows", found.rows},
          {"left_out", found.left_out},
          {"ties", found.ties},
          {"log_loss", found.log_loss},
          {"accuracy", found.accuracy},
          {"log_loss_difference", with_error(found.log_loss_difference)},
          {"accuracy_difference", with_error(found.accuracy_difference)},
          {"agreement", found.agreement}};
}

}  // namespace gavel
