#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "pjrt/plugin.h"

namespace gavel {

/** Hardware that a program can be compiled for without having it. A device is what PJRT calls one: a core of a TPU v3,
 * a chip of a later TPU, a GPU. Figures are the makers' own, for dense products; 0: not known. */
struct Target {
  std::string name;       // "tpu-v3-8"
  std::string plugin;     // "tpu", "cuda" or "cpu"
  std::string topology;   // the plugin's name for it, such as "v3:2x2"
  pjrt::Options options;  // of the topology
  int64_t devices = 1;
  std::string device_name;    // "TPU v3 core"
  double capacity_bytes = 0;  // memory of a device
  double bf16_flops = 0;      // products a second and device; 0 beside a known f32_flops: not in the hardware
  double f16_flops = 0;       // the same of float16
  double f32_flops = 0;
  double bandwidth = 0;       // bytes per second between a device and its memory
  double link_bandwidth = 0;  // bytes per second that the device with the fewest links takes in from others
  std::string link_name;      // "2 links of 50 GB/s"
  double clock = 0;           // cycles a second, of TPUs: what their compiler's estimates count in
  bool sums_in_switch = false;
  int compute_capability = 0;  // of a GPU, times ten

  /** Of the memory what Gavel takes of it (pjrt::cuda_memory_fraction): what a step has to fit in. */
  double usable_bytes() const;
  /** Products a second of a program that computes in `type`: what has no products of it computes them in float32. */
  double peak_flops(DType type) const;
};

/** What programs commonly reach of the makers' figures, by which a time is predicted. NVIDIA's share of products is that of large
 * products in XLA's and cuBLAS's kernels on H100; of none it was measured for Gavel's programs. */
struct Efficiencies {
  double products = 0.72, memory = 0.85;
  double attention = 0.42;  // cuDNN's, of the products' peak
  double links = 0.8;
  double kernel = 2e-6;  // seconds that a kernel takes at the least, its start included
};

/** "tpu-v3-8", "tpu-v5e-64", "h100x8", "l4" (one of them), "cpu", … As in Google's names, the number counts cores for TPU
 * v3, v4 and v5p, and chips for v5e and v6e. `cpu_devices`: virtual devices of the target "cpu". Throws Error with the names that are
 * known. */
Target find_target(const std::string& name, int64_t cpu_devices = 1);
std::vector<std::string> target_names();

/** For a TPU target: sets the environment variables that libtpu needs to compile without a TPU. To be called before the
 * plugin is loaded. */
void prepare_environment(const Target& target);

}  // namespace gavel
