#pragma once
#include <cstddef>
#include <string_view>

#include "base/dtype.h"
#include "nn/kernel_registry.h"
#include "pjrt/client.h"

namespace gavel {

/** What a device is like, asked in this one place; everything that depends on the kind of device reads it here. */
struct DeviceTraits {
  /** It is this machine's processor: arrays lie in this process's memory, so weights stay where they were filled in, and
   * temporaries come from its allocator. */
  bool is_host = false;
  /** Steps worth sending before the oldest one's numbers are read. An accelerator needs the next step waiting; the CPU
   * plugin would only take the temporaries' memory twice. */
  size_t steps_in_flight = 2;
  /** The best there are. */
  Kernels kernels;
  /** Written-out layers are the faster form of models that are small enough to compile so. */
  bool unrolls_small_models = false;

  /** What matrix products are fastest in, with these kernels (of `kernels`, or plain StableHLO). */
  DType fastest_compute_dtype(const Kernels& chosen) const;
};

/** Of a platform by name ("cpu", "cuda", "tpu"), with the kernels of this project if its runtime takes them. */
DeviceTraits device_traits(std::string_view platform, bool takes_kernels);
DeviceTraits device_traits(const pjrt::Client& client);

}  // namespace gavel
