#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "data/encode.h"
#include "rows/preferences.h"
#include "graph/graph.h"

namespace gavel {

/** Of A is better, B is better, tie: probabilities, or votes. */
using Outcome = std::array<double, 3>;

/** What is learnt from a row, and what a head's outputs mean. Programs, batches and judging ask it; a head has num_labels()
 * outputs, read at the last token of a row's text. */
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

  /** Loss of each row, float32 [R], of logits and targets float32 [R, num_labels]; `smoothing` is the share of each
   * target that is spread evenly. */
  virtual Value row_losses(const Value& logits, const Value& targets, double smoothing) const = 0;
  /** 1 for each row that is judged rightly and else 0, float32 [R]. Of several best answers each is right. */
  virtual Value hits(const Value& logits, const Value& targets) const = 0;

  /** One row's outputs as logits of the three outcomes; -infinity for what the head can't say. */
  virtual Outcome outcome_logits(std::span<const float> outputs) const = 0;
  /** What an outcome is called when A and B are exchanged. */
  virtual Outcome swapped(Outcome outcome) const = 0;
};

/** Which of two answers is better. `num_labels` 3: A, B or tie; 2: A or B, and a tie counts half for each. Throws Error for
 * other numbers. */
std::shared_ptr<const Task> judging_task(int64_t num_labels = 3);

}  // namespace gavel
