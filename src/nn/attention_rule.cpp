#include "nn/attention_rule.h"

#include "graph/ops.h"

namespace gavel {

RuledScores ruled_scores(const Value& products, const AttentionRule& rule) {
  Value scores = mul(products, rule.scale);
  if (!rule.logit_softcapping) return {scores, {}};
  Value bent = tanh(mul(scores, 1 / *rule.logit_softcapping));
  return {mul(bent, *rule.logit_softcapping), add(neg(mul(bent, bent)), 1)};
}

Value within_window(const Value& seen, const Value& key, const Value& query, const AttentionRule& rule) {
  if (!rule.sliding_window) return seen;
  Value first = sub(query, full_like(query, static_cast<double>(*rule.sliding_window)));
  return bit_and(seen, compare(Compare::kGt, key, first));
}

}  // namespace gavel
