#include "engine/device_traits.h"

#include "pjrt/ffi.h"

namespace gavel {

DType DeviceTraits::fastest_compute_dtype(const Kernels& chosen) const {
  // On processors bf16 pays where the processor has it and our kernels use it (docs/decisions.md).
  const bool fast = !is_host || (!chosen.plain() && __builtin_cpu_supports("avx512bf16"));
  return fast ? DType::kBF16 : DType::kF32;
}

pjrt::Options DeviceTraits::compile_overrides(bool deterministic) const {
  if (!deterministic || deterministic_option.empty()) return {};
  return {{deterministic_option, true}};
}

DeviceTraits device_traits(std::string_view platform, bool takes_kernels, int capability) {
  const bool cuda = platform == "cuda";
  DeviceTraits traits;
  traits.is_host = traits.unrolls_small_models = platform == "cpu";
  traits.unrolls_what_fits = cuda;
  if (traits.is_host) traits.steps_in_flight = 1;
  if (takes_kernels || cuda) traits.kernels = Kernels::of_platform(platform, capability);
  // It is by this option alone that XLA's compiler asks cuDNN for the gradient that adds up in one order.
  if (cuda) traits.deterministic_option = "xla_gpu_exclude_nondeterministic_ops";
  return traits;
}

DeviceTraits device_traits(const pjrt::Client& client) {
  return device_traits(client.platform_name(), pjrt::has_ffi(client.plugin()), client.device(0).compute_capability);
}

}  // namespace gavel
