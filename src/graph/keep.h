#pragma once
#include "graph/graph.h"

namespace gavel {

/** The value unchanged, marked for the gradient of the scan in whose body it stands: the op that made it is not computed
 * again there. The forward loop stacks what that op gives ([length, …], as it stacks the carries), and the backward body
 * reads it, while gradients flow on to the op's inputs as they would without the mark.
 *
 * - The mark is on the op, not on one of its outputs: `keep(attention)` spares a kernel's log-sum-exp too. Reshapes, transposes,
 *   slices (of half of a value or more) and sharding constraints between the op and the mark are looked through, since to
 *   make them again costs little.
 * - Of what is marked, only what the backward body really reads is stacked: a mark too many costs nothing.
 * - A mark whose value nothing uses counts too, as long as something uses the op.
 * - Nothing is stacked where no gradient is taken. Outside a scan, and within with_gradient's body, the mark does nothing;
 *   mark what with_gradient gives. In no case does it print anything.
 */
Value keep(const Value& a);

}  // namespace gavel
