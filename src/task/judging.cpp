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

/** Two texts of a row, one for each answer. What the head says of a text is read as if its answer were A: the numbers of
 * a text are for its own answer, for the other one and for a tie, and the pair's logits are the sums over both texts. */
class SiameseTask : public JudgingTask {
 public:
  using JudgingTask::JudgingTask;
  std::string_view name() const override { return "siamese"; }
  int64_t texts_per_row() const override { return 2; }

  Value outputs(const Value& head, const Value& /*tie*/) const override {
    const int64_t rows = head.dim(0) / 2, labels = num_labels();
    Value both = reshape(head, {rows, 2 * labels});
    auto said = [&](int64_t text, int64_t label) {
      const int64_t at = text * labels + label;
      return slice_dim(both, 1, at, at + 1);
    };
    std::vector<Value> columns = {add(said(0, 0), said(1, 1)), add(said(0, 1), said(1, 0))};
    if (labels == 3) columns.push_back(add(said(0, 2), said(1, 2)));
    return concatenate(columns, 1);
  }
};

void check_num_labels(int64_t num_labels) {
  if (num_labels != 2 && num_labels != 3)
    fail("judging: a head of {} labels has no meaning; expected 3 (A, B, tie) or 2 (A, B)", num_labels);
}

}  // namespace

std::shared_ptr<const Task> judging_task(int64_t num_labels) {
  check_num_labels(num_labels);
  return std::make_shared<JudgingTask>(num_labels);
}

std::shared_ptr<const Task> siamese_task(int64_t num_labels) {
  check_num_labels(num_labels);
  return std::make_shared<SiameseTask>(num_labels);
}

}  // namespace gavel
