#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "graph/kernel.h"
#include "nn/layer_calls.h"
#include "shard/mesh.h"

namespace gavel {

/** All that a program's graph has to know of one custom call, in one place: its name, how it is split over a mesh, its work
 * and its gradient. The function behind the name is registered with the plugin (ffi/handlers.h), or the compiler's own. */
struct KernelDefinition {
  std::string target;
  KernelDimensions dimensions;
  /** As Op::flops, of such a call; nullptr for kernels without matrix products. */
  double (*flops)(const KernelAttributes& attributes, const std::vector<TensorType>& operands) = nullptr;
  /** As Op::gradient, given the call's own attributes; none for kernels that are a gradient themselves. */
  std::function<std::vector<Value>(const KernelAttributes& attributes, const GradientContext& context)> gradient = {};
  /** As Kernel::first_output_target. */
  std::string first_output_target = {};
  /** For attention kernels, which skip keys that a query does not see, so that their work depends on the segments: how many
   * products they make of each pair of a query and a key that it sees. 0: the work is what `flops` says, whatever the
   * values. */
  int products_per_seen_pair = 0;
  /** As Kernel::write. */
  KernelWriter write = {};

  /** The outputs of a call, which have the types `outputs`. */
  std::vector<Value> call(const KernelAttributes& attributes, const std::vector<Value>& operands,
                          std::vector<TensorType> outputs) const;
};

/** A kernel that can compute calls of one kind (layer_calls.h) in place of graph ops. */
template <class Call>
struct KernelFor {
  std::string_view target;
  /** Whether it can compute this very call, on this mesh. */
  std::function<bool(const Call& call, const Mesh& mesh)> accepts;
  /** The call's result. */
  std::function<Value(const Call& call)> build;
};

/** The kernels of one platform: of those in `layers` for a kind of call, the first that accepts a call is taken. */
struct KernelSet {
  std::string_view platform;
  /** Of NVIDIA's GPUs: the lowest compute capability, times ten, that they are for. */
  int least_capability = 0;
  std::vector<KernelDefinition> definitions;
  std::tuple<std::vector<KernelFor<LinearCall>>, std::vector<KernelFor<AdaptedLinearCall>>,
             std::vector<KernelFor<NormCall>>, std::vector<KernelFor<RotaryCall>>,
             std::vector<KernelFor<AttentionCall>>, std::vector<KernelFor<PooledAttentionCall>>,
             std::vector<KernelFor<GatedCall>>, std::vector<KernelFor<FeedForwardCall>>>
      layers;

  /** nullptr for a target that is not there. */
  const KernelDefinition* find(std::string_view target) const;
  /** Throws Error for a target that is not there. */
  const KernelDefinition& definition(std::string_view target) const;
};

/** What a program's layers may be computed by. The default is plain StableHLO, which every device has. */
class Kernels {
 public:
  Kernels() = default;
  explicit Kernels(const KernelSet& set) : set_(&set) {}
  /** Those of "cpu", "cuda" (whose devices have a compute capability, times ten), …; plain StableHLO where none are
   * registered. */
  static Kernels of_platform(std::string_view platform, int capability = 0);

  bool operator==(const Kernels&) const = default;
  bool plain() const { return set_ == nullptr; }
  /** "plain", or the platform's name. */
  std::string_view name() const { return plain() ? "plain" : set_->platform; }

  /** The call's result, computed by the first kernel that accepts it; none when there is no such kernel. */
  template <class Call>
  Value try_call(const Call& call, const Mesh& mesh) const {
    if (set_ != nullptr)
      for (const KernelFor<Call>& kernel : std::get<std::vector<KernelFor<Call>>>(set_->layers))
        if (kernel.accepts(call, mesh)) return kernel.build(call);
    return {};
  }
  /** Whether attention skips keys that a query does not see, so that packing rows into one long sequence costs nothing. */
  bool skip_unseen_keys() const;
  /** The definition of a target, or nullptr for one that is not there. */
  const KernelDefinition* find(std::string_view target) const { return set_ == nullptr ? nullptr : set_->find(target); }

 private:
  const KernelSet* set_ = nullptr;
};

/** The sets of all platforms that have kernels; CUDA has several, by least_capability. */
const std::vector<const KernelSet*>& kernel_registry();

}  // namespace gavel
