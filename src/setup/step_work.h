#pragma once
#include <map>
#include <tuple>

#include "data/batcher.h"
#include "engine/programs.h"

namespace gavel {

/** What a program does for one batch, of what it states by op: of attention that skips what a row does not see, the products of
 * what this batch's rows do see. FLOPs. */
FlopCount batch_flops(const FlopCount& stated, const StepOptions& options, const Batch& batch, const Batcher& batcher);

/** The matrix-product work of training steps by the model alone, whatever is computed a second time to save memory. */
class StepWork {
 public:
  StepWork(StepOptions options, const Batcher& batcher) : options_(std::move(options)), batcher_(batcher) {}
  /** FLOPs of a batch's part in a step, which counts from 0. */
  double flops(const Batch& batch, int64_t step);

 private:
  StepOptions options_;
  const Batcher& batcher_;
  std::map<std::tuple<int64_t, int64_t, int64_t, bool>, FlopCount> stated_;  // by shape, and of the head alone
};

}  // namespace gavel
