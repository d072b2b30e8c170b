#pragma once
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "graph/kernel.h"
#include "nn/layer_calls.h"
#include "shard/mesh.h"

namespace gavel {

/** All that is known of one custom call, in one place: its name, how a mesh cuts it, its work and its gradient. The function
 * behind the name is registered with the plugin (kernels/ffi_handlers.h). */
struct KernelDefinition {
  using Attributes = std::vector<std::pair<std::string, std::variant<double, int32_t, bool>>>;

  std::string target;
  KernelDimensions dimensions;
  /** Matrix-product work of a call with these operands; none for kernels without products. */
  double (*flops)(const std::vector<TensorType>& operands) = nullptr;
  /** As Op::gradient, given the call's own attributes; none for kernels that are a gradient themselves. */
  std::vector<Value> (*gradient)(const Attributes& attributes, const GradientContext& context) = nullptr;
  /** The kernel that gives the first output alone, called when nothing reads the others; "" = there is none. */
  std::string first_output_target = {};
  /** For attention that skips what a query can't see: how many products it makes with each pair of a query and a key
   * that it sees. 0: the work is what `flops` says, whatever the values. */
  int products_per_seen_pair = 0;

  std::vector<Value> call(Attributes attributes, const std::vector<Value>& operands, std::vector<TensorType> outputs) const;
};

/** A kernel that can stand for a layer's composition. */
template <class Call>
struct KernelFor {
  std::string_view target;
  /** Whether it computes this very call, on this mesh. */
  bool (*accepts)(const Call& call, const Mesh& mesh);
  Value (*build)(const Call& call);
};

/** The kernels of one platform: of those for a call, the first that accepts it is taken. */
struct KernelSet {
  std::string_view platform;
  std::vector<KernelDefinition> definitions;
  std::tuple<std::vector<KernelFor<LinearCall>>, std::vector<KernelFor<AdaptedLinearCall>>,
             std::vector<KernelFor<NormCall>>, std::vector<KernelFor<RotaryCall>>, std::vector<KernelFor<AttentionCall>>,
             std::vector<KernelFor<PooledAttentionCall>>, std::vector<KernelFor<GatedCall>>,
             std::vector<KernelFor<FeedForwardCall>>>
      layers;

  /** Throws Error for a target that is not there. */
  const KernelDefinition& definition(std::string_view target) const;
};

/** What a program's layers may be computed by. The default is plain StableHLO, which every device has. */
class Kernels {
 public:
  Kernels() = default;
  explicit Kernels(const KernelSet& set) : set_(&set) {}
  /** Those of "cpu", "cuda", …; plain StableHLO where none are registered. */
  static Kernels of_platform(std::string_view platform);

  bool operator==(const Kernels&) const = default;
  bool plain() const { return set_ == nullptr; }
  /** "plain", or the platform's name. */
  std::string_view name() const { return plain() ? "plain" : set_->platform; }

  /** The call by the first kernel that accepts it, or none. */
  template <class Call>
  Value try_call(const Call& call, const Mesh& mesh) const {
    if (set_ != nullptr)
      for (const KernelFor<Call>& kernel : std::get<std::vector<KernelFor<Call>>>(set_->layers))
        if (kernel.accepts(call, mesh)) return kernel.build(call);
    return {};
  }
  /** Whether attention costs nothing for keys that a query does not see. */
  bool skip_unseen_keys() const;
  /** What is known of a target, or nullptr. */
  const KernelDefinition* find(std::string_view target) const;

 private:
  const KernelSet* set_ = nullptr;
};

/** Every set there is. */
const std::vector<const KernelSet*>& kernel_registry();

}  // namespace gavel
