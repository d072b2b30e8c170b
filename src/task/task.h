#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "data/encode.h"
#include "graph/graph.h"
#include "rows/preferences.h"

namespace gavel {

/** One number each for "A is better", "B is better" and "tie": probabilities, logits or votes. */
using Outcome = std::array<double, 3>;

/** What is learnt from a row, and what the head's num_labels() outputs mean. Programs, batches and judging ask it. The
 * head reads the rightmost token of a row's text that is not the pad token (Batch::last_index). */
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string_view name() const = 0;
  virtual int64_t num_labels() const = 0;

  /** How ties are read: as an outcome of their own, or half for A and half for B. */
  virtual Ties ties() const = 0;
  /** The text of a row (of its A/B exchange with `swap`) as tokens. */
  virtual EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                             const TextEncoder& encoder) const = 0;

  /** Loss of each row, float32 [R]. `logits` and `targets`: float32 [R, num_labels]; `smoothing`: the share of each
   * target that is spread evenly over the labels. */
  virtual Value row_losses(const Value& logits, const Value& targets, double smoothing) const = 0;
  /** float32 [R]: 1 for a row that is judged rightly, else 0. Where several targets are the largest, each counts as
   * right. */
  virtual Value hits(const Value& logits, const Value& targets) const = 0;

  /** One row's num_labels outputs as logits of the three outcomes; -infinity for an outcome that the head does not
   * have. */
  virtual Outcome outcome_logits(std::span<const float> outputs) const = 0;
  /** The same outcome with A and B exchanged. */
  virtual Outcome swapped(Outcome outcome) const = 0;
};

/** Which of two answers is better. `num_labels` 3: A, B or tie; 2: A or B, and a tie counts half for each. Throws Error
 * for other numbers. */
std::shared_ptr<const Task> judging_task(int64_t num_labels = 3);

}  // namespace gavel
