#include "task/outcomes.h"

#include "graph/ops.h"

namespace gavel {

Value smoothed(const Value& targets, double smoothing) {
  if (smoothing == 0) return targets;
  return add(mul(targets, 1 - smoothing), smoothing / static_cast<double>(targets.dim(1)));
}

Value cross_entropy(const Value& logits, const Value& targets, double smoothing) {
  Value target = smoothed(targets, smoothing);
  return neg(reduce_sum(mul(target, log_softmax(logits)), {1}));
}

Value largest_agrees(const Value& logits, const Value& targets) {
  Value last = reduce_max(logits, {1}), best = reduce_max(targets, {1});
  auto spread = [&](const Value& v) { return broadcast(v, logits.shape(), {0}); };
  Value hit = bit_and(compare(Compare::kEq, logits, spread(last)), compare(Compare::kEq, targets, spread(best)));
  return reduce_max(convert(hit, DType::kF32), {1});
}

}  // namespace gavel
