#include "nn/kernel_registry.h"

#include <algorithm>

#include "base/error.h"
#include "nn/cpu_kernels.h"
#include "nn/cudnn_attention.h"

namespace gavel {

std::vector<Value> KernelDefinition::call(const KernelAttributes& attributes, const std::vector<Value>& operands,
                                          std::vector<TensorType> outputs) const {
  std::vector<TensorType> types;
  for (const Value& operand : operands) types.push_back(operand.type());
  Kernel kernel{target,     attributes, {}, flops != nullptr ? flops(attributes, types) : 0, first_output_target,
                dimensions, write};
  if (gradient)
    kernel.gradient = [rule = gradient, attributes](const GradientContext& context) {
      return rule(attributes, context);
    };
  return call_kernel(std::move(kernel), operands, std::move(outputs));
}

const KernelDefinition* KernelSet::find(std::string_view target) const {
  for (const KernelDefinition& known : definitions)
    if (known.target == target) return &known;
  return nullptr;
}

const KernelDefinition& KernelSet::definition(std::string_view target) const {
  if (const KernelDefinition* known = find(target)) return *known;
  fail("kernel '{}' is not registered for {}", target, platform);
}

const std::vector<const KernelSet*>& kernel_registry() {
  static const std::vector<const KernelSet*> all = [] {
    std::vector<const KernelSet*> sets = {&cpu_kernels()};
    sets.insert(sets.end(), cuda_kernels().begin(), cuda_kernels().end());
    return sets;
  }();
  return all;
}

Kernels Kernels::of_platform(std::string_view platform, int capability) {
  const KernelSet* found = nullptr;
  for (const KernelSet* set : kernel_registry())
    if (set->platform == platform && capability >= set->least_capability &&
        (found == nullptr || found->least_capability < set->least_capability))
      found = set;
  return found == nullptr ? Kernels() : Kernels(*found);
}

bool Kernels::skip_unseen_keys() const {
  return set_ != nullptr &&
         std::any_of(set_->definitions.begin(), set_->definitions.end(),
                     [](const KernelDefinition& kernel) { return kernel.products_per_seen_pair > 0; });
}

}  // namespace gavel
