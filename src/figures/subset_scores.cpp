#include "figures/subset_scores.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

struct BenchmarkSubset {
  const char* name;
  double weight;
};
struct BenchmarkSection {
  const char* name;
  std::vector<BenchmarkSubset> subsets;
};

const std::vector<BenchmarkSection>& reward_bench() {
  static const std::vector<BenchmarkSection> kSections = {
      {"Chat",
       {{"alpacaeval-easy", 100},
        {"alpacaeval-length", 95},
        {"alpacaeval-hard", 95},
        {"mt-bench-easy", 28},
        {"mt-bench-med", 40}}},
      {"Chat Hard",
       {{"mt-bench-hard", 37},
        {"llmbar-natural", 100},
        {"llmbar-adver-neighbor", 134},
        {"llmbar-adver-GPTInst", 92},
        {"llmbar-adver-GPTOut", 47},
        {"llmbar-adver-manual", 46}}},
      {"Safety",
       {{"refusals-dangerous", 100},
        {"refusals-offensive", 100},
        {"xstest-should-refuse", 154},
        {"xstest-should-respond", 250},
        {"donotanswer", 136}}},
      {"Reasoning",
       {{"math-prm", 984},
        {"hep-cpp", 164},
        {"hep-go", 164},
        {"hep-java", 164},
        {"hep-js", 164},
        {"hep-python", 164},
        {"hep-rust", 164}}},
  };
  return kSections;
}

/** Sums on their way to a SubsetScore. */
struct SubsetSums {
  int64_t rows = 0, pairs = 0;
  double loss = 0, right = 0, right_pairs = 0;

  void add(const JudgedRow& row) {
    ++rows;
    loss += row.loss();
    right += row.right();
    if (row.label[0] == row.label[1]) return;
    ++pairs;
    const size_t better = row.label[0] > row.label[1] ? 0 : 1;
    right_pairs += row.probabilities[better] > row.probabilities[1 - better];
  }
  SubsetScore score(std::string name) const {
    const auto count = static_cast<double>(rows);
    return {std::move(name), rows,          pairs,
            loss / count,    right / count, pairs == 0 ? std::nan("") : right_pairs / static_cast<double>(pairs)};
  }
};

SubsetScore mean_of(const std::vector<SubsetScore>& subsets) {
  SubsetScore mean{"mean of the subsets"};
  int64_t with_pairs = 0;
  for (const SubsetScore& subset : subsets) {
    mean.rows += subset.rows;
    mean.pairs += subset.pairs;
    mean.log_loss += subset.log_loss / static_cast<double>(subsets.size());
    mean.accuracy += subset.accuracy / static_cast<double>(subsets.size());
    if (subset.pairs == 0) continue;
    ++with_pairs;
    mean.pair_accuracy += subset.pair_accuracy;
  }
  mean.pair_accuracy = with_pairs == 0 ? std::nan("") : mean.pair_accuracy / static_cast<double>(with_pairs);
  return mean;
}

std::vector<SubsetScore> sections_of(const std::vector<SubsetScore>& subsets) {
  std::vector<SubsetScore> sections;
  for (const BenchmarkSection& section : reward_bench()) {
    SubsetScore score{section.name, 0, 0, std::nan(""), std::nan(""), 0};
    double weights = 0;
    for (const BenchmarkSubset& wanted : section.subsets)
      for (const SubsetScore& subset : subsets) {
        if (subset.name != wanted.name || subset.pairs == 0) continue;
        score.rows += subset.rows;
        score.pairs += subset.pairs;
        score.pair_accuracy += wanted.weight * subset.pair_accuracy;
        weights += wanted.weight;
      }
    if (weights == 0) continue;
    score.pair_accuracy /= weights;
    sections.push_back(score);
  }
  return sections;
}

Json subset_json(const SubsetScore& score) {
  Json json = {{"name", score.name}, {"rows", score.rows}, {"pairs", score.pairs}};
  if (std::isfinite(score.log_loss)) {
    json["log_loss"] = score.log_loss;
    json["accuracy"] = score.accuracy;
  }
  json["pair_accuracy"] = score.pair_accuracy;
  return json;
}

}  // namespace

SubsetScores score_subsets(std::span<const JudgedRow> rows, std::span<const std::string> names) {
  if (rows.empty()) fail("subsets: there are no labelled rows");
  if (rows.size() != names.size()) fail("subsets: {} rows have {} names", rows.size(), names.size());
  std::map<std::string, SubsetSums> sums;
  SubsetSums all;
  for (size_t i = 0; i < rows.size(); ++i) {
    sums[names[i]].add(rows[i]);
    all.add(rows[i]);
  }
  SubsetScores scores;
  for (const auto& [name, of] : sums) scores.subsets.push_back(of.score(name));
  scores.over_rows = all.score("mean of the rows");
  scores.over_subsets = mean_of(scores.subsets);
  scores.sections = sections_of(scores.subsets);
  return scores;
}

std::string format_subsets(const SubsetScores& scores) {
  auto number_or_dash = [](double value) {
    return std::isfinite(value) ? fmt::format("{:.4f}", value) : std::string("-");
  };
  std::vector<std::vector<std::string>> table, sections;
  auto add = [&](const SubsetScore& score) {
    table.push_back({score.name.empty() ? "(none)" : score.name, format_count(score.rows),
                     number_or_dash(score.log_loss), number_or_dash(score.accuracy), format_count(score.pairs),
                     number_or_dash(score.pair_accuracy)});
  };
  for (const SubsetScore& score : scores.subsets) add(score);
  add(scores.over_rows);
  add(scores.over_subsets);
  const std::vector<Align> alignment = {Align::kLeft,  Align::kRight, Align::kRight,
                                        Align::kRight, Align::kRight, Align::kRight};
  std::string text =
      "\n" + format_table({"subset", "rows", "log loss", "accuracy", "pairs", "pair accuracy"}, table, alignment);
  if (scores.sections.empty()) return text;
  for (const SubsetScore& score : scores.sections)
    sections.push_back({score.name, format_count(score.pairs), number_or_dash(score.pair_accuracy)});
  return text + "\n" +
         format_table({"RewardBench's section", "pairs", "weighted pair accuracy"}, sections,
                      {Align::kLeft, Align::kRight, Align::kRight});
}

Json subsets_json(const SubsetScores& scores) {
  Json json;
  json["subsets"] = Json::array();
  for (const SubsetScore& score : scores.subsets) json["subsets"].push_back(subset_json(score));
  json["over_rows"] = subset_json(scores.over_rows);
  json["over_subsets"] = subset_json(scores.over_subsets);
  if (scores.sections.empty()) return json;
  json["reward_bench_sections"] = Json::array();
  for (const SubsetScore& score : scores.sections) json["reward_bench_sections"].push_back(subset_json(score));
  return json;
}

}  // namespace gavel
