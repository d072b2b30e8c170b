#pragma once
#include "graph/graph.h"

namespace gavel {

/** Targets [R, K] with the share `smoothing` of each spread evenly over the K. */
Value smoothed(const Value& targets, double smoothing);

/** Cross-entropy with soft targets, float32 [R]: -sum(target * log_softmax(logits)) of logits and targets [R, K];
 * `smoothing` as in smoothed(). */
Value cross_entropy(const Value& logits, const Value& targets, double smoothing);

/** float32 [R]: 1 where the largest of logits [R, K] is at a largest of targets [R, K], else 0. */
Value largest_agrees(const Value& logits, const Value& targets);

}  // namespace gavel
