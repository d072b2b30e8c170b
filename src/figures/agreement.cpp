#include "figures/agreement.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

double share(int64_t part, int64_t all) {
  return all == 0 ? std::nan("") : static_cast<double>(part) / static_cast<double>(all);
}

bool has_most_votes(size_t verdict, const std::array<double, 3>& votes) {
  return votes[verdict] >= *std::max_element(votes.begin(), votes.end());
}

void require_as_many(size_t found, size_t expected) {
  if (found != expected) fail("agreement: {} rows beside {}", found, expected);
}

MeanWithError difference_of(const std::vector<double>& values) {
  if (values.empty()) return {std::nan(""), std::nan("")};
  const auto count = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double value : values) mean += value / count;
  for (double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() < 2 ? std::nan("") : std::sqrt(squares / (count - 1) / count)};
}

/** JSON has no NaN. */
nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

}  // namespace

OpinionScores score_opinions(std::span<const Opinion> opinions, std::span<const Votes> votes) {
  require_as_many(opinions.size(), votes.size());
  OpinionScores scores;
  int64_t right = 0, with_probabilities = 0;
  double loss = 0;
  for (size_t i = 0; i < opinions.size(); ++i) {
    const Opinion& opinion = opinions[i];
    ++scores.rows;
    if (opinion.in_order && opinion.exchanged) {
      ++scores.both_ways;
      scores.flipped += *opinion.in_order != *opinion.exchanged;
    }
    // Exchanged, B is shown first.
    scores.first_preferred += (opinion.in_order == size_t{0}) + (opinion.exchanged == size_t{1});
    scores.second_preferred += (opinion.in_order == size_t{1}) + (opinion.exchanged == size_t{0});
    if (votes[i] && opinion.probabilities) {
      ++with_probabilities;
      for (size_t k = 0; k < 3; ++k)
        if ((*votes[i])[k] > 0) loss -= (*votes[i])[k] * std::log(std::max((*opinion.probabilities)[k], 1e-15));
    }
    if (!opinion.verdict) {
      ++scores.without_verdict;
      continue;
    }
    ++scores.verdicts[*opinion.verdict];
    if (!votes[i]) continue;
    ++scores.voted;
    right += has_most_votes(*opinion.verdict, *votes[i]);
  }
  scores.accuracy = share(right, scores.voted);
  scores.log_loss = with_probabilities == 0 ? std::nan("") : loss / static_cast<double>(with_probabilities);
  return scores;
}

Agreement compare_opinions(std::span<const Opinion> first, std::span<const Opinion> second,
                           std::span<const Votes> votes) {
  require_as_many(first.size(), votes.size());
  require_as_many(second.size(), votes.size());
  Agreement found;
  std::vector<double> differences;
  for (size_t i = 0; i < votes.size(); ++i) {
    if (!first[i].verdict || !second[i].verdict) continue;
    const size_t a = *first[i].verdict, b = *second[i].verdict;
    ++found.rows;
    ++found.table[a][b];
    if (!votes[i]) continue;
    ++found.voted;
    differences.push_back(static_cast<double>(has_most_votes(a, *votes[i])) -
                          static_cast<double>(has_most_votes(b, *votes[i])));
  }
  found.accuracy_difference = difference_of(differences);
  int64_t same = 0;
  double by_chance = 0;
  for (size_t k = 0; k < 3; ++k) {
    same += found.table[k][k];
    int64_t of_first = 0, of_second = 0;
    for (size_t other = 0; other < 3; ++other) {
      of_first += found.table[k][other];
      of_second += found.table[other][k];
    }
    by_chance += share(of_first, found.rows) * share(of_second, found.rows);
  }
  found.agreement = share(same, found.rows);
  found.kappa = by_chance < 1 ? (found.agreement - by_chance) / (1 - by_chance) : std::nan("");
  return found;
}

nlohmann::ordered_json opinion_scores_json(const OpinionScores& scores) {
  nlohmann::ordered_json verdicts;
  for (size_t k = 0; k < 3; ++k) verdicts[kOutcomes[k]] = scores.verdicts[k];
  return {{"rows", scores.rows},
          {"without_verdict", scores.without_verdict},
          {"verdicts", verdicts},
          {"voted", scores.voted},
          {"accuracy", number(scores.accuracy)},
          {"log_loss", number(scores.log_loss)},
          {"both_ways", scores.both_ways},
          {"flipped", scores.flipped},
          {"flip_rate", number(share(scores.flipped, scores.both_ways))},
          {"first_preferred", scores.first_preferred},
          {"second_preferred", scores.second_preferred},
          {"first_share", number(share(scores.first_preferred, scores.first_preferred + scores.second_preferred))}};
}

nlohmann::ordered_json agreement_json(const Agreement& found) {
  return {{"rows", found.rows},
          {"agreement", number(found.agreement)},
          {"kappa", number(found.kappa)},
          {"table", found.table},
          {"voted", found.voted},
          {"accuracy_difference",
           {{"mean", number(found.accuracy_difference.mean)},
            {"standard_error", number(found.accuracy_difference.error)}}}};
}

std::string format_agreement(const Agreement& found, const std::array<std::string, 2>& names) {
  std::vector<std::vector<std::string>> rows;
  for (size_t k = 0; k < 3; ++k) {
    rows.push_back({fmt::format("1 says {}", kOutcomes[k])});
    for (const int64_t count : found.table[k]) rows.back().push_back(format_count(count));
  }
  std::string text = fmt::format("1 = {}\n2 = {}\n\n", names[0], names[1]);
  text += format_table({"", "2 says A", "2 says B", "2 says tie"}, rows,
                       {Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  text += fmt::format("\nthe same verdict on {:.2f} % of {} pairs, Cohen's kappa {}\n", 100 * found.agreement,
                      format_count(found.rows), std::isfinite(found.kappa) ? fmt::format("{:.4f}", found.kappa) : "–");
  if (found.voted > 0)
    text += fmt::format("accuracy of 1 less that of 2 on {} pairs with votes: {:+.4f} ± {:.4f}\n",
                        format_count(found.voted), found.accuracy_difference.mean, found.accuracy_difference.error);
  return text;
}

}  // namespace gavel
