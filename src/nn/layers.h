#pragma once
#include "nn/kernel_registry.h"
#include "nn/placement.h"

namespace gavel {

/** Adds a model's computations to its graph: each call is computed by the first kernel that accepts it, else by graph ops.
 */
class Layers {
 public:
  Layers(Kernels kernels, const Placement& placement) : kernels_(kernels), placement_(placement) {}

  Value linear(const LinearCall& call) const;
  Value linear(const AdaptedLinearCall& call) const;
  /** Of the calls above, each of which a kernel may take. */
  Value linear(const DecomposedLinearCall& call) const;
  Value norm(const NormCall& call) const;
  Value rotary(const RotaryCall& call) const;
  Value attention(const AttentionCall& call) const;
  Value attention(const PooledAttentionCall& call) const;
  Value gated(const GatedCall& call) const;
  /** None when no kernel computes the whole block: the caller then builds it of the calls above. */
  Value feed_forward(const FeedForwardCall& call) const { return try_kernel(call); }

 private:
  template <class Call>
  Value try_kernel(const Call& call) const {
    return kernels_.try_call(call, placement_.mesh());
  }

  Kernels kernels_;
  const Placement& placement_;
};

/** The norm by graph ops. */
Value norm_composition(const NormCall& call);

}  // namespace gavel
