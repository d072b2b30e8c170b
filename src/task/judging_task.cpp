#include <limits>
#include <utility>

#include "base/error.h"
#include "graph/ops.h"
#include "task/task.h"

namespace gavel {

namespace {

class JudgingTask : public Task {
 public:
  explicit JudgingTask(int64_t num_labels) : num_labels_(num_labels) {}
  std::string_view name() const override { return "judge"; }
  int64_t num_labels() const override { return num_labels_; }
  Ties ties() const override { return num_labels_ == 3 ? Ties::kOutcome : Ties::kHalfEach; }

  EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                     const TextEncoder& encoder) const override {
    return encode_row(row, swap, options, encoder);
  }

  /** Cross-entropy with soft labels. */
  Value row_losses(const Value& logits, const Value& targets, double smoothing) const override {
    Value target = targets;
    if (smoothing > 0) target = add(mul(targets, 1 - smoothing), smoothing / static_cast<double>(num_labels_));
    return neg(reduce_sum(mul(target, log_softmax(logits)), {1}));
  }

  Value hits(const Value& logits, const Value& targets) const override {
    Value last = reduce_max(logits, {1}), best = reduce_max(targets, {1});
    auto spread = [&](const Value& v) { return broadcast(v, logits.shape(), {0}); };
    Value hit = bit_and(compare(Compare::kEq, logits, spread(last)), compare(Compare::kEq, targets, spread(best)));
    return reduce_max(convert(hit, DType::kF32), {1});
  }

  Outcome outcome_logits(std::span<const float> outputs) const override {
    Outcome logits;
    logits.fill(-std::numeric_limits<double>::infinity());
    std::copy(outputs.begin(), outputs.end(), logits.begin());
    return logits;
  }

  Outcome swapped(Outcome outcome) const override {
    std::swap(outcome[0], outcome[1]);
    return outcome;
  }

 private:
  int64_t num_labels_;
};

}  // namespace

std::shared_ptr<const Task> judging_task(int64_t num_labels) {
  if (num_labels != 2 && num_labels != 3)
    fail("judging: a head of {} labels has no meaning; expected 3 (A, B, tie) or 2 (A, B)", num_labels);
  return std::make_shared<JudgingTask>(num_labels);
}

}  // namespace gavel
