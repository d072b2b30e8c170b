#pragma once
#include <cstdint>

namespace gavel {

namespace hlo {
struct Module;
}

/** What a device is taken to do in a second: its peak times the share that programs reach of it. */
struct WorkRates {
  double products = 0;   // of bfloat16 and narrower, products times two a second
  double float32 = 0;    // the same of float32
  double attention = 0;  // the same of cuDNN's attention
  double memory = 0;     // bytes
  double kernel = 0;     // seconds that a kernel takes at the least
};

/** What one run of a compiled program does on one device, loops counted as often as they run. */
struct ExecutedWork {
  double flops = 0, float32_flops = 0, attention_flops = 0;  // float32 and attention not in `flops`
  double bytes = 0;    // read and written by kernels; what a fused computation keeps to itself is not
  double seconds = 0;  // kernel after kernel, each by its products or its bytes, whichever takes longer
  double cycles = 0;   // by the compiler's own estimate, where it gives one (libtpu)
  int64_t launches = 0;
};

/** `unknown_trips`: runs of a loop that does not state them. */
ExecutedWork count_work(const hlo::Module& module, const WorkRates& rates, int64_t unknown_trips);

}  // namespace gavel
