#include "report/scores.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

constexpr size_t kBins = 15;

size_t largest(const std::array<double, 3>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

double share(double part, double whole) {
  return whole == 0 ? std::nan("") : part / whole;
}

/** Sums of a group of rows on their way to a GroupScore. */
struct Group {
  std::string name;
  int64_t rows = 0;
  double loss = 0, right = 0;

  void add(const JudgedRow& row) {
    ++rows;
    loss += row.loss();
    right += row.right();
  }
  GroupScore score() const {
    auto count = static_cast<double>(rows);
    return {name, rows, loss / count, right / count};
  }
};

std::vector<GroupScore> by_length(std::span<const JudgedRow> rows) {
  std::vector<int64_t> lengths;
  for (const JudgedRow& row : rows) lengths.push_back(row.tokens);
  std::sort(lengths.begin(), lengths.end());
  // Rows of one length stay together, so a quarter may be missing.
  std::vector<int64_t> ends;
  for (size_t quarter = 1; quarter <= 4; ++quarter) {
    int64_t end = lengths[std::max<size_t>(1, lengths.size() * quarter / 4) - 1];
    if (ends.empty() || end > ends.back()) ends.push_back(end);
  }
  std::vector<Group> groups(ends.size());
  int64_t low = lengths.front();
  for (size_t i = 0; i < ends.size(); ++i) {
    groups[i].name = low == ends[i] ? fmt::format("{} tokens", low) : fmt::format("{} to {} tokens", low, ends[i]);
    low = ends[i] + 1;
  }
  for (const JudgedRow& row : rows)
    groups[static_cast<size_t>(std::lower_bound(ends.begin(), ends.end(), row.tokens) - ends.begin())].add(row);
  std::vector<GroupScore> scores;
  for (const Group& group : groups)
    if (group.rows > 0) scores.push_back(group.score());
  return scores;
}

std::vector<GroupScore> by_turns(std::span<const JudgedRow> rows) {
  struct Range {
    int64_t low, high;
    const char* name;
  };
  constexpr Range kRanges[] = {
      {1, 1, "1 turn"}, {2, 2, "2 turns"}, {3, 4, "3 or 4 turns"}, {5, INT64_MAX, "5 or more turns"}};
  std::vector<GroupScore> scores;
  for (const Range& range : kRanges) {
    Group group{range.name};
    for (const JudgedRow& row : rows)
      if (row.turns >= range.low && row.turns <= range.high) group.add(row);
    if (group.rows > 0) scores.push_back(group.score());
  }
  return scores;
}

std::vector<std::string> group_cells(const GroupScore& group) {
  return {group.name, format_count(group.rows), fmt::format("{:.4f}", group.log_loss),
          fmt::format("{:.4f}", group.accuracy)};
}

}  // namespace

double JudgedRow::loss() const {
  double loss = 0;
  for (size_t i = 0; i < 3; ++i)
    if (label[i] > 0) loss -= label[i] * std::log(std::max(probabilities[i], 1e-300));
  return loss;
}

size_t JudgedRow::truth() const {
  return largest(label);
}
size_t JudgedRow::verdict() const {
  return largest(probabilities);
}
bool JudgedRow::right() const {
  return label[verdict()] == label[truth()];
}

double JudgedRow::uncertainty() const {
  double entropy = 0;
  for (double p : probabilities)
    if (p > 0) entropy -= p * std::log(p);
  return entropy / std::log(3.0);
}

Scores score(std::span<const JudgedRow> rows) {
  if (rows.empty()) fail("score: there are no labelled rows");
  Scores scores;
  scores.rows = static_cast<int64_t>(rows.size());
  std::vector<ReliabilityBin> bins(kBins);
  std::array<double, 3> label_sums{}, class_loss{};
  for (const JudgedRow& row : rows) {
    double loss = row.loss();
    scores.log_loss += loss;
    scores.accuracy += row.right();
    scores.ties = scores.ties || row.label[2] > 0 || row.probabilities[2] > 0;
    size_t truth = row.truth(), verdict = row.verdict();
    ++scores.confusion[truth][verdict];
    class_loss[truth] += loss;
    for (size_t i = 0; i < 3; ++i) {
      scores.brier += (row.probabilities[i] - row.label[i]) * (row.probabilities[i] - row.label[i]);
      label_sums[i] += row.label[i];
    }
    double confidence = row.probabilities[verdict];
    auto& bin = bins[std::min(kBins - 1, static_cast<size_t>(std::clamp(confidence, 0.0, 1.0) * kBins))];
    ++bin.rows;
    bin.confidence += confidence;
    bin.accuracy += row.right();
  }
  auto count = static_cast<double>(rows.size());
  scores.log_loss /= count;
  scores.accuracy /= count;
  scores.brier /= count;
  for (size_t i = 0; i < kBins; ++i) {
    ReliabilityBin bin = bins[i];
    if (bin.rows == 0) continue;
    auto in_bin = static_cast<double>(bin.rows);
    bin.low = static_cast<double>(i) / kBins;
    bin.high = static_cast<double>(i + 1) / kBins;
    bin.confidence /= in_bin;
    bin.accuracy /= in_bin;
    scores.calibration_error += in_bin / count * std::abs(bin.confidence - bin.accuracy);
    scores.bins.push_back(bin);
  }
  for (size_t c = 0; c < 3; ++c) {
    ClassScore& found = scores.classes[c];
    for (size_t i = 0; i < 3; ++i) {
      found.rows += scores.confusion[c][i];
      found.predicted += scores.confusion[i][c];
    }
    auto right = static_cast<double>(scores.confusion[c][c]);
    found.precision = share(right, static_cast<double>(found.predicted));
    found.recall = share(right, static_cast<double>(found.rows));
    found.f1 = share(2 * right, static_cast<double>(found.predicted + found.rows));
    found.log_loss = share(class_loss[c], static_cast<double>(found.rows));
  }
  double total = label_sums[0] + label_sums[1] + label_sums[2];
  for (double sum : label_sums)
    if (sum > 0) scores.constant_log_loss -= sum / total * std::log(sum / total);
  size_t most = largest(label_sums);
  for (const JudgedRow& row : rows) scores.constant_accuracy += row.label[most] == row.label[row.truth()];
  scores.constant_accuracy /= count;
  scores.by_length = by_length(rows);
  scores.by_turns = by_turns(rows);
  return scores;
}

std::vector<GroupScore> score_groups(std::span<const JudgedRow> rows, std::span<const std::string> names) {
  if (rows.size() != names.size()) fail("score: {} rows have {} names", rows.size(), names.size());
  std::map<std::string, Group> groups;
  for (size_t i = 0; i < rows.size(); ++i) {
    Group& group = groups[names[i]];
    group.name = names[i];
    group.add(rows[i]);
  }
  std::vector<GroupScore> scores;
  for (const auto& [name, group] : groups) scores.push_back(group.score());
  return scores;
}

std::string format_scores(const Scores& scores) {
  const size_t outcomes = scores.ties ? 3 : 2;
  auto number = [](double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : std::string("-"); };
  std::vector<std::vector<std::string>> classes, confusion, bins, lengths, turns;
  for (size_t c = 0; c < outcomes; ++c) {
    const ClassScore& found = scores.classes[c];
    classes.push_back({kOutcomes[c], format_count(found.rows), format_count(found.predicted), number(found.precision),
                       number(found.recall), number(found.f1), number(found.log_loss)});
    confusion.push_back({fmt::format("label {}", kOutcomes[c])});
    for (size_t verdict = 0; verdict < outcomes; ++verdict)
      confusion.back().push_back(format_count(scores.confusion[c][verdict]));
  }
  for (const ReliabilityBin& bin : scores.bins)
    bins.push_back({fmt::format("{:.3f} to {:.3f}", bin.low, bin.high), format_count(bin.rows), number(bin.confidence),
                    number(bin.accuracy)});
  for (const GroupScore& group : scores.by_length) lengths.push_back(group_cells(group));
  for (const GroupScore& group : scores.by_turns) turns.push_back(group_cells(group));
  std::string text;
  auto add = [&](const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& table) {
    if (table.empty()) return;
    std::vector<Align> alignment(header.size(), Align::kRight);
    alignment[0] = Align::kLeft;
    text += '\n';
    text += format_table(header, table, alignment);
  };
  add({"class", "labels", "verdicts", "precision", "recall", "F1", "log loss"}, classes);
  std::vector<std::string> verdicts = {""};
  for (size_t verdict = 0; verdict < outcomes; ++verdict)
    verdicts.push_back(fmt::format("verdict {}", kOutcomes[verdict]));
  add(verdicts, confusion);
  add({"confidence", "rows", "mean", "accuracy"}, bins);
  add({"length", "rows", "log loss", "accuracy"}, lengths);
  add({"conversation", "rows", "log loss", "accuracy"}, turns);
  return text;
}

}  // namespace gavel
