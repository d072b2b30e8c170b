#pragma once
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "judge/evaluate.h"
#include "judge/load_adapter.h"
#include "rows/preferences.h"

namespace gavel {

/** What a judge says of one pair, always in the order {A, B, tie}. */
struct Verdict {
  /** softmax(logits), and the mean of both ways' where the pair was also judged with A and B exchanged; or what the
   * calibration makes of both. */
  Outcome probabilities{};
  Outcome logits{};
  /** Logits of the pair with A and B exchanged, in the order A, B, tie of the pair itself. */
  std::optional<Outcome> swapped_logits;
  /** The rewards of A and B, of a judge whose task is reward; of a row without an answer B that is NaN. */
  std::optional<Rewards> rewards;
  /** Tokens of the pair's text (of a reward, of the conversation with A's answer) as the judge read it, and before
   * truncation. */
  int64_t length = 0, full_length = 0;
  /** Of a reward: tokens of the conversation with B's answer. */
  int64_t length_b = 0;

  /** Index of the largest probability: 0 A, 1 B, 2 tie. */
  size_t best() const;
  /** Whether judging with A and B exchanged led to another outcome; false when that was not done. */
  bool flipped() const;
};

/** The batch shapes of a judge; a program is compiled for each combination. */
struct JudgeShapes {
  std::vector<int64_t> lengths;      // rising, the last data.max_length
  std::vector<int64_t> batch_sizes;  // rising
};

/** A trained judge on its device, or the judges of an ensemble (ensemble_members()), which share the base model there and
 * whose probabilities are averaged: then a row's logits are the logarithms of its mean probabilities, to which the
 * ensemble's own calibration.json applies, and its rewards their means. Rows are padded to few shapes, by default
 * judging_lengths() and 1, 2, 4, … rows up to train.batch_size. For one thread. */
class Judge {
 public:
  /** Throws Error as load_adapter() does, when the members of an ensemble do not belong together, and when the recipe's
   * device can't be opened. */
  explicit Judge(const JudgeOptions& options);

  const Recipe& recipe() const { return recipe_; }
  /** What is done to answers where this share of rows is judged both ways; nothing = they stay as they are. */
  const Calibration* calibration(double swap_average) const;
  /** One line where that calibration was fitted to another share; else "". */
  std::string calibration_warning(double swap_average) const;
  /** What a calibration that is fitted now belongs to. */
  CalibrationKey calibration_key() const;
  /** A hash of the adapter's weights and config, of the settings and of the calibration. The content of the base model and
   * of the tokenizer is not in it. */
  std::string fingerprint() const;

  /** Judges the rows, in order. `swap_average`: share of the rows, the most uncertain first (by the distance of the two
   * largest probabilities), that are also judged with A and B exchanged; 0 = none, 1 = all. A reward reads each answer by
   * itself, so that an exchange says nothing new: none is made. */
  std::vector<Verdict> judge(std::span<const PreferenceRow> rows, double swap_average = 0, const RowsDone& done = {});

  /** Pads to these shapes from now on. */
  void use_shapes(JudgeShapes shapes);
  const JudgeShapes& shapes() const { return shapes_; }
  /** Compiles every shape (or takes it from the cache); `done` is called with how many are ready. */
  void warm_up(const std::function<void(int64_t)>& done = {});

 private:
  BatchOptions options_for(int64_t rows) const;
  std::vector<Verdict> judge_by_single_rewards(std::span<const PreferenceRow> rows, const RowsDone& done);
  Judgement judge_by_all(const Batcher& batcher, const RowsDone& done,
                         const std::function<std::string(int64_t)>& row_name);
  Judgement judge_once(std::vector<PreferenceRow> rows, std::vector<Verdict>* lengths, const RowsDone& done);

  Recipe recipe_;
  std::filesystem::path folder_;  // the judge's, or the ensemble's
  /** The folders of the judges; one, or an ensemble's. */
  std::vector<std::filesystem::path> adapters_;
  /** The weights of an ensemble's judges, each of which is put on the device in its turn; empty when there is one. */
  std::vector<std::vector<HostTensor>> members_;
  JudgeShapes shapes_;
  std::filesystem::path base_;
  CalibrationFile calibration_;
  TokenizeOptions tokenize_;
  TextEncoder encoder_;
  std::unique_ptr<Engine> engine_;
};

/** Lengths that a judge pads to, rising, the last `max_length`: at most about a third of a sequence is padding. */
std::vector<int64_t> judging_lengths(int64_t max_length);

/** "A is better", "B is better" or "tie" for 0, 1, 2. */
const char* outcome_name(size_t outcome);

}  // namespace gavel
