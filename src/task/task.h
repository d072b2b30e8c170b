#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "data/encode.h"
#include "graph/graph.h"
#include "rows/preferences.h"

namespace gavel {

/** One number each for "A is better", "B is better" and "tie": probabilities, logits or votes. */
using Outcome = std::array<double, 3>;

/** One number each for the answers A and B. */
using Rewards = std::array<double, 2>;

/** What is learnt from a row: from one text of it or two, and what the head's num_labels() numbers on each mean. Programs,
 * batches and judging ask it. The head reads the rightmost token of a text that is not the pad token (Batch::last_index). */
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string_view name() const = 0;
  virtual int64_t num_labels() const = 0;
  /** 1, or 2: then the second is the one that `swap` gives. */
  virtual int64_t texts_per_row() const = 0;
  /** Numbers of a row's target: 3 = the outcomes A, B and tie, 2 = A and B, 1 = a score. */
  virtual int64_t num_targets() const = 0;
  /** Numbers that outputs() makes for each row. */
  virtual int64_t num_outputs() const = 0;
  /** Whether the logit of a tie is a parameter of its own (TrainableLayout::tie). */
  virtual bool learns_tie() const = 0;

  /** Whether a row is one answer, and its target that answer's score. */
  virtual bool reads_scores() const { return false; }
  /** With reads_scores: whether a reward is right for a score, as hits() has it, and the mean loss of the best constant reward for
   * scores whose mean and whose squares' mean are given. */
  virtual bool scored_rightly(double /*reward*/, double /*score*/) const { return false; }
  virtual double constant_score_loss(double /*mean*/, double /*mean_square*/) const { return 0; }
  /** Whether row_losses() takes margins. */
  virtual bool has_margins() const { return false; }

  /** How ties are read: as an outcome of their own, or half for A and half for B. */
  virtual Ties ties() const = 0;
  /** The text of a row (of its A/B exchange with `swap`) as tokens. */
  virtual EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                             const TextEncoder& encoder) const = 0;

  /** What the head gives on the texts, float32 [R * texts_per_row, num_labels], as what is known of the rows, float32
   * [R, num_outputs]. `tie`: float32 [1], with learns_tie. */
  virtual Value outputs(const Value& head, const Value& tie) const = 0;
  /** Loss of each row, float32 [R]. `outputs` of outputs(), `targets` float32 [R, num_targets]; `smoothing`: the share of
   * each target that is spread evenly over the outcomes. `margins`: float32 [R], with has_margins; without them (in evaluation)
   * they count as 0. */
  virtual Value row_losses(const Value& outputs, const Value& targets, double smoothing,
                           const Value& margins) const = 0;
  /** float32 [R]: 1 for a row that is judged rightly, else 0. Where several targets are the largest, each counts as
   * right. */
  virtual Value hits(const Value& outputs, const Value& targets) const = 0;

  /** One row's num_outputs numbers as logits of the three outcomes; -infinity for an outcome that the task does not
   * have. */
  virtual Outcome outcome_logits(std::span<const float> outputs) const = 0;
  /** The same numbers as the rewards of the answers, where the task has such. */
  virtual std::optional<Rewards> rewards(std::span<const float> outputs) const = 0;
  /** The same outcome with A and B exchanged. */
  virtual Outcome swapped(Outcome outcome) const = 0;
};

/** Which of two answers is better. `num_labels` 3: A, B or tie; 2: A or B, and a tie counts half for each. Throws Error
 * for other numbers. */
std::shared_ptr<const Task> judging_task(int64_t num_labels = 3);

/** The same from two texts, the conversation with A's answer and that with B's, as a reward reads them. The head's numbers
 * on a text are as those of a judge for whom the text's own answer is A; the logits of a pair are their sums: with a those
 * on A's text and b those on B's, a[0] + b[1] for A, a[1] + b[0] for B, a[2] + b[2] for a tie. Exchanging A and B exchanges
 * the logits, whatever the weights are. Throws Error as judging_task(). */
std::shared_ptr<const Task> siamese_task(int64_t num_labels = 3);

struct RewardOptions {
  /** Ties are an outcome of their own (Davidson, 1970): with d the difference of the rewards, the logits of A, B and tie
   * are d / 2, -d / 2 and a number that is learnt. Without it they are d / 2 and -d / 2 (Bradley & Terry, 1952), and a tie
   * counts half for each. */
  bool learns_tie = true;
  /** Times the square of the rewards' sum is added to a pair's loss, which keeps their mean near 0 (Eisenstein et al.,
   * "Helping or herding?", 2023), as TRL's center_rewards_coefficient does. */
  double center_coefficient = 0;
  /** Training takes margins: with m of a pair the loss is that of A at a difference of d - m, and that of B at d + m, so that the
   * better answer is to be ahead by more than m (without ties: -log sigmoid(d - m), as TRL's margin); a tie has none. */
  bool margins = false;
};
/** A number for each answer, by which of two is better: a row's texts are the conversation with A's answer and that with
 * B's. */
std::shared_ptr<const Task> reward_task(const RewardOptions& options = {});

/** What the number of one answer is to the score that it was given. */
enum class SingleLoss : uint8_t {
  kSquaredError,        // (reward - score)^2
  kBinaryCrossEntropy,  // of sigmoid(reward), to a score from 0 to 1
};
/** A number for each answer, by the scores of single answers: a row's text is the conversation with its one answer. */
std::shared_ptr<const Task> single_reward_task(SingleLoss loss);

}  // namespace gavel
