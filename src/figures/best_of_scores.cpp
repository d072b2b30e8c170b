#include "figures/best_of_scores.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

using BestOfJson = nlohmann::ordered_json;

bool is_ties(const std::string& subset) {
  constexpr std::string_view kTies = "ties";
  return std::equal(subset.begin(), subset.end(), kTies.begin(), kTies.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

double result_of(const std::vector<double>& rewards) {
  const double largest = *std::max_element(rewards.begin(), rewards.end());
  if (rewards.front() != largest) return 0;
  return 1 / static_cast<double>(std::count(rewards.begin(), rewards.end(), largest));
}

/** Distances between the rewards of one row. */
struct Distances {
  double among_right = 0, above_wrong = 0;
};

Distances distances_of(const RewardedAnswers& row) {
  const auto wrong = row.rewards.begin() + static_cast<std::ptrdiff_t>(row.right);
  const auto [low, high] = std::minmax_element(row.rewards.begin(), wrong);
  return {*high - *low, *low - *std::max_element(wrong, row.rewards.end())};
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? std::nan("") : sum / static_cast<double>(values.size());
}

TiesScore score_ties(const std::vector<const RewardedAnswers*>& rows) {
  std::map<std::string, Distances> ref, tied;  // by prompt
  for (const RewardedAnswers* row : rows) {
    const bool is_ref = row->id.starts_with("ref:"), is_tied = row->id.starts_with("tied:");
    if (!is_ref && !is_tied) fail("subset {}: row {}: expected an id as \"ref:1\" or \"tied:1\"", row->subset, row->id);
    if (is_tied && row->right < 2) fail("subset {}: row {}: expected two right answers or more", row->subset, row->id);
    const std::string prompt = row->id.substr(row->id.find(':') + 1);
    if (!(is_ref ? ref : tied).emplace(prompt, distances_of(*row)).second)
      fail("subset {}: two rows have the id {}", row->subset, row->id);
  }
  auto accuracy = [](const std::map<std::string, Distances>& of) {
    double right = 0;
    for (const auto& [prompt, distances] : of) right += distances.above_wrong > 0;
    return of.empty() ? 0 : right / static_cast<double>(of.size());
  };
  std::vector<double> margins, hard_margins, gaps;
  for (const auto& [prompt, own] : tied) {
    const auto found = ref.find(prompt);
    if (found == ref.end()) continue;
    const double least = std::min(own.above_wrong, found->second.above_wrong);
    margins.push_back(own.above_wrong > own.among_right);
    hard_margins.push_back(least > own.among_right);
    const double gap = std::tanh(least / own.among_right - 1);
    gaps.push_back(std::isnan(gap) ? 0 : gap);
  }
  TiesScore score{accuracy(ref), accuracy(tied), mean_of(margins), mean_of(hard_margins), mean_of(gaps), 0};
  score.score = 0.3 * score.ref_accuracy + 0.3 * score.tied_accuracy + 0.2 * score.margin + 0.2 * score.hard_margin +
                0.01 * score.gap;
  return score;
}

}  // namespace

BestOfScores score_best_of(std::span<const RewardedAnswers> rows) {
  if (rows.empty()) fail("best of n: there are no rows");
  BestOfScores scores;
  std::map<std::string, std::vector<double>> results;
  std::map<std::string, std::vector<const RewardedAnswers*>> ties;
  std::vector<double> all;
  for (const RewardedAnswers& row : rows) {
    if (row.right < 1 || row.right >= row.rewards.size())
      fail("best of n: row {}: {} of {} answers are right, expected one or more of either kind", row.id, row.right,
           row.rewards.size());
    if (is_ties(row.subset)) {
      ties[row.subset].push_back(&row);
      scores.results.push_back(std::nan(""));
      continue;
    }
    scores.results.push_back(result_of(row.rewards));
    results[row.subset].push_back(scores.results.back());
    all.push_back(scores.results.back());
  }
  for (const auto& [name, of] : results) scores.subsets.push_back({name, static_cast<int64_t>(of.size()), mean_of(of)});
  for (const auto& [name, of] : ties) {
    scores.ties.push_back(score_ties(of));
    scores.subsets.push_back({name, static_cast<int64_t>(of.size()), scores.ties.back().score});
  }
  std::stable_sort(scores.subsets.begin(), scores.subsets.end(),
                   [](const BestOfSubset& a, const BestOfSubset& b) { return a.name < b.name; });
  scores.over_rows = mean_of(all);
  std::vector<double> of_subsets;
  for (const BestOfSubset& subset : scores.subsets) of_subsets.push_back(subset.score);
  scores.over_subsets = mean_of(of_subsets);
  return scores;
}

std::string format_best_of(const BestOfScores& scores) {
  auto score_text = [](double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : std::string("-"); };
  std::vector<std::vector<std::string>> table;
  int64_t rows = 0;
  for (const BestOfSubset& subset : scores.subsets) {
    table.push_back(
        {subset.name.empty() ? "(none)" : subset.name, format_count(subset.rows), score_text(subset.score)});
    rows += subset.rows;
  }
  table.push_back({scores.ties.empty() ? "mean of the rows" : "mean of the rows (without Ties)", format_count(rows),
                   score_text(scores.over_rows)});
  table.push_back({"mean of the subsets", format_count(rows), score_text(scores.over_subsets)});
  std::string text = format_table({"subset", "rows", "best of n"}, table, {Align::kLeft, Align::kRight, Align::kRight});
  for (const TiesScore& ties : scores.ties)
    text += fmt::format(
        "\nTies: right answers above all wrong ones in {} of the rows with one, {} of those with several; closer to "
        "each "
        "other than to the wrong ones in {} ({} with the nearer of both)\n",
        score_text(ties.ref_accuracy), score_text(ties.tied_accuracy), score_text(ties.margin),
        score_text(ties.hard_margin));
  return text;
}

BestOfJson best_of_json(const BestOfScores& scores) {
  BestOfJson json;
  json["subsets"] = BestOfJson::array();
  for (const BestOfSubset& subset : scores.subsets)
    json["subsets"].push_back({{"name", subset.name}, {"rows", subset.rows}, {"score", subset.score}});
  json["over_rows"] = scores.over_rows;
  json["over_subsets"] = scores.over_subsets;
  for (const TiesScore& ties : scores.ties)
    json["ties"] = {{"ref_accuracy", ties.ref_accuracy},
                    {"tied_accuracy", ties.tied_accuracy},
                    {"margin", ties.margin},
                    {"hard_margin", ties.hard_margin},
                    {"gap", ties.gap},
                    {"score", ties.score}};
  return json;
}

}  // namespace gavel
