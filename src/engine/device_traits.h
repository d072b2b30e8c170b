#pragma once
#include <cstddef>
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

  /** The type in which matrix products are fastest with the kernels `chosen`: `kernels`, or plain StableHLO. */
  DType fastest_compute_dtype(const Kernels& chosen) const;
};

/** The traits of a platform by name ("cpu", "cuda", "tpu"). `takes_kernels`: its plugin can call our kernels (XLA
 * FFI). */
DeviceTraits device_traits(std::string_view platform, bool takes_kernels);
DeviceTraits device_traits(const pjrt::Client& client);

}  // namespace gavel
