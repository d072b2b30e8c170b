#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gavel {

/** Names of the outcomes, in the order in which every list of three has them. */
inline constexpr std::array<const char*, 3> kOutcomes = {"A", "B", "tie"};

/** What a judge said of one labelled row. */
struct JudgedRow {
  std::string id;
  int64_t row = 0;     // of the source file, from 1
  int64_t tokens = 0;  // of all its texts
  int64_t turns = 0;   // 0 = not known
  std::array<double, 3> label{}, probabilities{};
  /** Of A's answer and of B's, where the task is reward. */
  std::optional<std::array<double, 2>> rewards;

  /** -sum(label * log p) */
  double loss() const;
  /** Index of the largest label, and below of the largest probability. */
  size_t truth() const;
  size_t verdict() const;
  /** Whether no label is larger than that of the verdict. */
  bool right() const;
  /** Entropy of the probabilities over log 3: 0 = sure, 1 = no idea. */
  double uncertainty() const;
};

struct ClassScore {
  int64_t rows = 0;                          // rows with this label
  int64_t predicted = 0;                     // rows with this verdict
  double precision = 0, recall = 0, f1 = 0;  // NaN where they would divide by 0
  double log_loss = 0;                       // mean over the rows with this label; NaN without any
};

/** Rows whose largest probability lies in [low, high); the last bin has 1 too. */
struct ReliabilityBin {
  double low = 0, high = 0;
  int64_t rows = 0;
  double confidence = 0;  // mean of the largest probability
  double accuracy = 0;    // share of right verdicts
};

struct GroupScore {
  std::string name;
  int64_t rows = 0;
  double log_loss = 0, accuracy = 0;
};

/** Figures of a judge on labelled rows. */
struct Scores {
  int64_t rows = 0;
  /** Whether a tie is an outcome: some row is labelled so, or is given a probability of it. */
  bool ties = false;
  double log_loss = 0, accuracy = 0;
  /** Mean of the squared distance between probabilities and label, summed over the classes. */
  double brier = 0;
  /** Expected calibration error (Naeini et al., 2015; Guo et al., 2017): mean over the rows of the distance
   * between accuracy and confidence of their bin, 15 bins of equal width. */
  double calibration_error = 0;
  std::vector<ReliabilityBin> bins;  // those with rows
  std::array<ClassScore, 3> classes;
  /** [label][verdict], by largest label. */
  std::array<std::array<int64_t, 3>, 3> confusion{};
  /** Quarters by tokens, and groups by rounds of the conversation (where known). */
  std::vector<GroupScore> by_length, by_turns;
  /** Log loss and accuracy of always answering the label shares of these very rows: the best constant answer.
   */
  double constant_log_loss = 0, constant_accuracy = 0;
};

/** Throws Error when there are no rows. */
Scores score(std::span<const JudgedRow> rows);

/** Figures of the rows of each name, in the names' order; `names` has one for each row. */
std::vector<GroupScore> score_groups(std::span<const JudgedRow> rows, std::span<const std::string> names);

/** Tables for the terminal. */
std::string format_scores(const Scores& scores);

}  // namespace gavel
