#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "graph/ops.h"
#include "task/outcomes.h"
#include "task/task.h"

namespace gavel {

namespace {

class JudgingTask : public Task {
 public:
  explicit JudgingTask(int64_t num_labels) : num_labels_(num_labels) {}
  std::string_view name() const override { return "judge"; }
  int64_t num_labels() const override { return num_labels_; }
  int64_t texts_per_row() const override { return 1; }
  int64_t num_targets() const override { return num_labels_; }
  int64_t num_outputs() const override { return num_labels_; }
  bool learns_tie() const override { return false; }
  Ties ties() const override { return num_labels_ == 3 ? Ties::kOutcome : Ties::kHalfEach; }

  EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                     const TextEncoder& encoder) const override {
    return encode_row(row, swap, options, encoder);
  }

  Value outputs(const Value& head, const Value& /*tie*/) const override { return head; }

  Value row_losses(const Value& outputs, const Value& targets, double smoothing,
                   const Value& /*margins*/) const override {
    return cross_entropy(outputs, targets, smoothing);
  }

  Value hits(const Value& outputs, const Value& targets) const override { return largest_agrees(outputs, targets); }

  Outcome outcome_logits(std::span<const float> outputs) const override {
    Outcome logits;
    logits.fill(-std::numeric_limits<double>::infinity());
    std::copy(outputs.begin(), outputs.end(), logits.begin());
    return logits;
  }
  std::optional<Rewards> rewards(std::span<const float> /*outputs*/) const override { return std::nullopt; }

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
