#pragma once
#include "graph/graph.h"

namespace gavel {

/** A number of each token that its masks are drawn from, ui32 [T], from the row's number in the optimizer batch and its
 * position there, so that masks do not depend on batching, shards or kernels. Both i32 [B, S]. */
Value token_hash(const Value& dropout_rows, const Value& positions);

/** Dropout whose masks are a hash of (step's key, layer, module, token, feature): layers computed again and parts of a
 * batch see the same mask, and no random state is kept. The default leaves values as they are. */
struct Dropout {
  double p = 0;
  Value token_hash;  // ui32 [T]; none without dropout
  Value step_key;    // ui32 scalar
  Value layer;       // i32 scalar
  size_t module = 0;

  /** x [T, features]: each element is kept with probability 1 - p, and then divided by it. */
  Value operator()(const Value& x) const;
};

}  // namespace gavel
