#include <algorithm>
#include <limits>
#include <utility>

#include "graph/ops.h"
#include "task/outcomes.h"
#include "task/task.h"

namespace gavel {

namespace {

/** Two texts of a row, one head output on each: the rewards a and b of its answers. The outputs are the logits of the
 * outcomes, and then both rewards. */
class RewardTask : public Task {
 public:
  explicit RewardTask(const RewardOptions& options) : options_(options) {}
  std::string_view name() const override { return "reward"; }
  int64_t num_labels() const override { return 1; }
  int64_t texts_per_row() const override { return 2; }
  int64_t num_targets() const override { return options_.learns_tie ? 3 : 2; }
  int64_t num_outputs() const override { return num_targets() + 2; }
  bool learns_tie() const override { return options_.learns_tie; }
  bool has_margins() const override { return options_.margins; }
  Ties ties() const override { return options_.learns_tie ? Ties::kOutcome : Ties::kHalfEach; }

  /** `swap` stands for the conversation with B's answer. */
  EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                     const TextEncoder& encoder) const override {
    return encode_row(row, swap, options, encoder);
  }

  Value outputs(const Value& head, const Value& tie) const override {
    const int64_t rows = head.dim(0) / 2;
    Value rewards = reshape(head, {rows, 2});
    Value a = slice_dim(rewards, 1, 0, 1), b = slice_dim(rewards, 1, 1, 2);
    Value half = mul(sub(a, b), 0.5);
    std::vector<Value> columns = {half, neg(half)};
    if (options_.learns_tie) columns.push_back(broadcast(tie, {rows, 1}, {1}));
    columns.push_back(a);
    columns.push_back(b);
    return concatenate(columns, 1);
  }

  Value row_losses(const Value& outputs, const Value& targets, double smoothing, const Value& margins) const override {
    Value loss = margins ? margin_losses(outcomes(outputs), smoothed(targets, smoothing), margins)
                         : cross_entropy(outcomes(outputs), targets, smoothing);
    if (options_.center_coefficient == 0) return loss;
    Value sum = reduce_sum(slice_dim(outputs, 1, num_targets(), num_outputs()), {1});
    return add(loss, mul(mul(sum, sum), options_.center_coefficient));
  }

  Value hits(const Value& outputs, const Value& targets) const override {
    return largest_agrees(outcomes(outputs), targets);
  }

  Outcome outcome_logits(std::span<const float> outputs) const override {
    Outcome logits;
    logits.fill(-std::numeric_limits<double>::infinity());
    std::copy_n(outputs.begin(), num_targets(), logits.begin());
    return logits;
  }
  std::optional<Rewards> rewards(std::span<const float> outputs) const override {
    return Rewards{outputs[static_cast<size_t>(num_targets())], outputs[static_cast<size_t>(num_targets()) + 1]};
  }

  Outcome swapped(Outcome outcome) const override {
    std::swap(outcome[0], outcome[1]);
    return outcome;
  }

 private:
  /** Each outcome's loss at its own difference of the rewards. */
  Value margin_losses(const Value& logits, const Value& targets, const Value& margins) const {
    const int64_t rows = logits.dim(0);
    Value half = reshape(mul(margins, 0.5), {rows, 1}), none = full_like(half, 0);
    auto loss_of = [&](int64_t outcome, const Value& shift) {
      std::vector<Value> shifts = {shift, neg(shift)};
      if (options_.learns_tie) shifts.push_back(none);
      Value log_probability = slice_dim(log_softmax(add(logits, concatenate(shifts, 1))), 1, outcome, outcome + 1);
      return mul(slice_dim(targets, 1, outcome, outcome + 1), log_probability);
    };
    Value sum = add(loss_of(0, neg(half)), loss_of(1, half));
    if (options_.learns_tie) sum = add(sum, loss_of(2, none));
    return neg(reshape(sum, {rows}));
  }

  Value outcomes(const Value& outputs) const { return slice_dim(outputs, 1, 0, num_targets()); }

  RewardOptions options_;
};

}  // namespace

std::shared_ptr<const Task> reward_task(const RewardOptions& options) {
  return std::make_shared<RewardTask>(options);
}

}  // namespace gavel
