#pragma once
#include <functional>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace gavel {

/** What a scan's body sees in one iteration. The values are of `graph`, which is the body's own. */
struct ScanInput {
  Graph& graph;
  Value index;  // i32 scalar, 0 … length-1
  std::vector<Value> carries;
  std::vector<Value> slices;     // row `index` of every stacked input
  std::vector<Value> constants;  // the same in every iteration
};

/** What the body gives in one iteration. */
struct ScanOutput {
  std::vector<Value> carries;  // same number and types as the carries that came in
  std::vector<Value> stacked;  // each becomes row `index` of a stacked result
};

/** What the whole loop gives. */
struct ScanResult {
  std::vector<Value> carries;  // after the last iteration
  std::vector<Value> stacked;  // [length, …]
};

/** A loop over the rows of stacked inputs, from the last row to the first with `reverse`: one body in the program, whatever
 * the length.
 *
 * `stacked` inputs are [length, …], or longer: rows behind the first `length` are left out. The gradient is another scan in the opposite order. For it the forward loop also
 * keeps the carries that entered each iteration, from which the backward body computes the iteration again, so that memory
 * does not grow with what a body computes (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016); beside them
 * it keeps what keep() marks in the body (keep.h) and nothing else. Throws when a stacked input is shorter, or the body's carries differ in type from those that came
 * in. */
ScanResult scan(Graph& graph, int64_t length, const std::vector<Value>& carries, const std::vector<Value>& stacked,
                const std::vector<Value>& constants, const std::function<ScanOutput(const ScanInput&)>& body,
                bool reverse = false);

/** Bytes of what the scans among the nodes that `roots` need stack because keep() marks it (keep.h). */
double kept_bytes(const Graph& graph, std::span<const Value> roots);

}  // namespace gavel
