#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "base/dtype.h"
#include "nn/kernel_registry.h"
#include "pjrt/client.h"

namespace gavel {

/** How an open device differs from others, decided in this one place from its platform and plugin. */
struct DeviceTraits {
  /** The device is this machine's processor: arrays lie in this process's memory, so weights stay where they were read
   * to, and programs take their temporaries from this process's allocator. */
  bool is_host = false;
  /** How many steps are sent before the oldest one's numbers are read. An accelerator needs the next step waiting; on
   * the CPU a second one would only take the temporaries' memory twice. */
  size_t steps_in_flight = 2;
  /** All that are registered for the platform, if the plugin can call them; else plain StableHLO. */
  Kernels kernels;
  /** LayerForm::kUnrolled is faster than kScan for models that are small enough to be compiled so. */
  bool unrolls_small_models = false;
  /** The same for all models whose activations fit the memory: what a scan keeps for its gradient, it stacks. */
  bool unrolls_what_fits = false;
  /** The compiler's option for programs that give the same bits at each run; "" where all do. */
  std::string deterministic_option;

  /** The type in which matrix products are fastest with the kernels `chosen`: `kernels`, or plain StableHLO. */
  DType fastest_compute_dtype(const Kernels& chosen) const;
  /** What a program is compiled with beside the devices' own options (pjrt::CompileOptions::overrides). */
  pjrt::Options compile_overrides(bool deterministic) const;
};

/** The traits of a platform by name ("cpu", "cuda", "tpu"). `takes_kernels`: its plugin can call our kernels (XLA
 * FFI); what CUDA devices call is the compiler's own, and depends on their compute capability (times ten). */
DeviceTraits device_traits(std::string_view platform, bool takes_kernels, int capability = 0);
DeviceTraits device_traits(const pjrt::Client& client);

}  // namespace gavel
