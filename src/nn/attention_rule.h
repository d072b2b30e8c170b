#pragma once
#include "nn/layer_calls.h"

namespace gavel {

// How the forms of attention.h make scores and masks of an AttentionRule.

/** The score of a key that is not seen: far below any other, yet finite, so that a row with nothing to see gives no NaN. */
inline constexpr double kMasked = -1e30;

struct RuledScores {
  Value scores;
  /** With a soft cap: what a score's gradient is multiplied by on its way to the products; else none. */
  Value slope;
};
/** Scores before the mask, of the products of queries and keys. */
RuledScores ruled_scores(const Value& products, const AttentionRule& rule);

/** Whether tokens of these two segments see each other by their segments alone, the later the earlier: i32 of one shape →
 * booleans. */
Value segments_meet(const Value& one, const Value& other, const AttentionRule& rule);

/** `seen`, and with a window only where the key's place is less than the window before the query's. Booleans of one shape
 * with the places, i32. */
Value within_window(const Value& seen, const Value& key, const Value& query, const AttentionRule& rule);

}  // namespace gavel
