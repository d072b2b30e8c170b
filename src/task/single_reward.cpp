#include <cmath>
#include <limits>

#include "graph/ops.h"
#include "task/task.h"

namespace gavel {

namespace {

/** One text of a row, one head output on it: the answer's reward. That is the one output. */
class SingleRewardTask : public Task {
 public:
  explicit SingleRewardTask(SingleLoss loss) : loss_(loss) {}
  std::string_view name() const override { return "reward"; }
  int64_t num_labels() const override { return 1; }
  int64_t texts_per_row() const override { return 1; }
  int64_t num_targets() const override { return 1; }
  int64_t num_outputs() const override { return 1; }
  bool learns_tie() const override { return false; }
  bool reads_scores() const override { return true; }
  /** Of pairs that are judged by the rewards of their answers. */
  Ties ties() const override { return Ties::kHalfEach; }

  EncodedText encode(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                     const TextEncoder& encoder) const override {
    return encode_row(row, swap, options, encoder);
  }

  Value outputs(const Value& head, const Value& /*tie*/) const override { return head; }

  Value row_losses(const Value& outputs, const Value& targets, double /*smoothing*/,
                   const Value& /*margins*/) const override {
    const Shape rows = {outputs.dim(0)};
    Value reward = reshape(outputs, rows), score = reshape(targets, rows);
    if (loss_ == SingleLoss::kSquaredError) {
      Value error = sub(reward, score);
      return mul(error, error);
    }
    // -s log sigmoid(r) - (1 - s) log sigmoid(-r) = max(r, 0) - r s + log(1 + exp(-|r|)), which no r overflows.
    return add(sub(maximum(reward, full_like(reward, 0)), mul(reward, score)), log1p(exp(neg(abs(reward)))));
  }

  /** Right: within half a point of the score, or on its side of one half. */
  Value hits(const Value& outputs, const Value& targets) const override {
    const Shape rows = {outputs.dim(0)};
    Value reward = reshape(outputs, rows), score = reshape(targets, rows);
    if (loss_ == SingleLoss::kSquaredError)
      return convert(compare(Compare::kLe, abs(sub(reward, score)), full_like(reward, 0.5)), DType::kF32);
    Value above = convert(compare(Compare::kGt, reward, full_like(reward, 0)), DType::kF32);
    Value better = convert(compare(Compare::kGt, score, full_like(score, 0.5)), DType::kF32);
    return convert(compare(Compare::kEq, above, better), DType::kF32);
  }

  bool scored_rightly(double reward, double score) const override {
    return loss_ == SingleLoss::kSquaredError ? std::abs(reward - score) <= 0.5 : (reward > 0) == (score > 0.5);
  }

  double constant_score_loss(double mean, double mean_square) const override {
    if (loss_ == SingleLoss::kSquaredError) return mean_square - mean * mean;
    auto part = [](double p) { return p > 0 ? -p * std::log(p) : 0; };
    return part(mean) + part(1 - mean);
  }

  /** No outcome: there is one answer. */
  Outcome outcome_logits(std::span<const float> /*outputs*/) const override { return {}; }
  std::optional<Rewards> rewards(std::span<const float> outputs) const override {
    return Rewards{outputs[0], std::numeric_limits<double>::quiet_NaN()};
  }

  Outcome swapped(Outcome outcome) const override { return outcome; }

 private:
  SingleLoss loss_;
};

}  // namespace

std::shared_ptr<const Task> single_reward_task(SingleLoss loss) {
  return std::make_shared<SingleRewardTask>(loss);
}

}  // namespace gavel
