#pragma once
#include "graph/graph.h"

namespace gavel {

/** A number for each token, ui32 [T], from which its dropout masks are drawn. It is a hash of the number of the token's row
 * in the optimizer step and of its position in that row, both i32 [B, S], so masks do not depend on how rows are put into
 * batches and onto devices, nor on kernels. */
Value token_hash(const Value& dropout_rows, const Value& positions);

/** Dropout whose masks are a hash of the step's key, the layer, the module, the token and the feature: layers that are
 * computed again and parts of a batch see the same mask, and no random state is kept. The default leaves values as they
 * are. */
struct Dropout {
  double p = 0;       // probability that an element is dropped
  Value token_hash;   // ui32 [T]; none without dropout
  Value step_key;     // ui32 scalar
  Value layer;        // i32 scalar
  size_t module = 0;  // number of the linear in its block

  /** x [T, features]: each element is kept with probability 1 - p, and divided by that; else it is 0. */
  Value operator()(const Value& x) const;
};

}  // namespace gavel
