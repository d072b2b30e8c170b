#include "nn/attention_rule.h"

#include "base/segments.h"
#include "graph/ops.h"

namespace gavel {

RuledScores ruled_scores(const Value& products, const AttentionRule& rule) {
  Value scores = mul(products, rule.scale);
  if (!rule.logit_softcapping) return {scores, {}};
  Value bent = tanh(mul(scores, 1 / *rule.logit_softcapping));
  return {mul(bent, *rule.logit_softcapping), add(neg(mul(bent, bent)), 1)};
}

Value segments_meet(const Value& one, const Value& other, const AttentionRule& rule) {
  if (!rule.prefixes) return compare(Compare::kEq, one, other);
  auto last_bits = [](const Value& segment) { return bit_and(segment, full_like(segment, kSegmentGroup - 1)); };
  Value a = last_bits(one), b = last_bits(other);
  Value same_group = compare(Compare::kEq, sub(one, a), sub(other, b));
  // Within a group: the same segment, or one of the two is the prefix (which stands before the others, so it is the key).
  Value apart = mul(mul(a, b), bit_xor(a, b));
  return bit_and(same_group, compare(Compare::kEq, apart, full_like(apart, 0)));
}

Value within_window(const Value& seen, const Value& key, const Value& query, const AttentionRule& rule) {
  if (!rule.sliding_window) return seen;
  Value first = sub(query, full_like(query, static_cast<double>(*rule.sliding_window)));
  return bit_and(seen, compare(Compare::kGt, key, first));
}

}  // namespace gavel
