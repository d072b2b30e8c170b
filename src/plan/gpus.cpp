#include "plan/gpus.h"

#include <fmt/format.h>

namespace gavel {

namespace {

constexpr double kTera = 1e12, kGiga = 1e9;
constexpr int64_t kMiB = 1024 * 1024, kKiB = 1024;

}  // namespace

// Sources. Peaks (dense: half of what is printed "with sparsity"), memory bandwidth and link: NVIDIA's data sheets
// "A100 Tensor Core GPU" (SXM), "H100 Tensor Core GPU" (SXM), "H200 Tensor Core GPU" (SXM), "L4", "L40S", "T4", and
// the "Ada GPU architecture" and "RTX Blackwell GPU architecture" whitepapers for the RTX 4090 and 5090 (sums in
// float32). f32 is without TF32, which Gavel's programs do not use. A link is one direction: half of the 600 and 900
// GB/s of NVLink, 64, 32 and 16 GB/s of PCIe 5.0, 4.0 and 3.0 x16. The memory is what CUDA tells programs: XLA's
// descriptions of A100 and H100, PyTorch's out-of-memory messages for the others, rounded down. Cores, clock, caches
// and threads: the same whitepapers, and the table of compute capabilities in the CUDA programming guide. The T4
// multiplies no bfloat16.
const std::vector<Gpu>& gpus() {
  static const std::vector<Gpu> all = {
      {"a100-40", "NVIDIA A100-SXM4-40GB", 42331013120.0, 312 * kTera, 312 * kTera, 19.5 * kTera, 1555 * kGiga,
       300 * kGiga, "NVLink", false, 8, 0, 108, 64, 1.41, 40 * kMiB, 164 * kKiB, 163 * kKiB, 2048},
      {"a100-80", "NVIDIA A100-SXM4-80GB", 85100068864.0, 312 * kTera, 312 * kTera, 19.5 * kTera, 2039 * kGiga,
       300 * kGiga, "NVLink", false, 8, 0, 108, 64, 1.41, 40 * kMiB, 164 * kKiB, 163 * kKiB, 2048},
      {"h100", "NVIDIA H100 80GB HBM3", 84942979072.0, 989 * kTera, 989 * kTera, 67 * kTera, 3350 * kGiga, 450 * kGiga,
       "NVLink", true, 9, 0, 132, 128, 1.98, 50 * kMiB, 228 * kKiB, 227 * kKiB, 2048},
      {"h200", "NVIDIA H200 141GB HBM3e", 150e9, 989 * kTera, 989 * kTera, 67 * kTera, 4800 * kGiga, 450 * kGiga,
       "NVLink", true, 9, 0, 132, 128, 1.98, 50 * kMiB, 228 * kKiB, 227 * kKiB, 2048},
      {"l4", "NVIDIA L4", 23.8e9, 121 * kTera, 121 * kTera, 30.3 * kTera, 300 * kGiga, 32 * kGiga, "PCIe 4.0 x16",
       false, 8, 9, 58, 128, 2.04, 48 * kMiB, 100 * kKiB, 99 * kKiB, 1536},
      {"l40s", "NVIDIA L40S", 47.6e9, 362 * kTera, 362 * kTera, 91.6 * kTera, 864 * kGiga, 32 * kGiga, "PCIe 4.0 x16",
       false, 8, 9, 142, 128, 2.52, 96 * kMiB, 100 * kKiB, 99 * kKiB, 1536},
      {"rtx4090", "NVIDIA GeForce RTX 4090", 25.3e9, 165.2 * kTera, 165.2 * kTera, 82.6 * kTera, 1008 * kGiga,
       32 * kGiga, "PCIe 4.0 x16", false, 8, 9, 128, 128, 2.52, 72 * kMiB, 100 * kKiB, 99 * kKiB, 1536},
      {"rtx5090", "NVIDIA GeForce RTX 5090", 33.6e9, 209.5 * kTera, 209.5 * kTera, 104.8 * kTera, 1792 * kGiga,
       64 * kGiga, "PCIe 5.0 x16", false, 12, 0, 170, 128, 2.41, 96 * kMiB, 100 * kKiB, 99 * kKiB, 1536},
      {"t4", "Tesla T4", 15.6e9, 0, 65 * kTera, 8.1 * kTera, 320 * kGiga, 16 * kGiga, "PCIe 3.0 x16", false, 7, 5, 40,
       64, 1.59, 4 * kMiB, 64 * kKiB, 64 * kKiB, 1024},
  };
  return all;
}

std::string xla_description(const Gpu& gpu) {
  return fmt::format(
      R"(gpu_device_info {{
  name: "{}"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: {} minor: {}{} }}
  core_count: {}
  fpus_per_core: {}
  clock_rate_ghz: {}
  memory_bandwidth: {}
  device_memory_size: {}
  l2_cache_size: {}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: {}
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {}
  shared_memory_per_core: {}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  device_address_bits: 64
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{}"
)",
      gpu.device_name, gpu.major, gpu.minor, gpu.major == 9 ? " feature_extension: ACCELERATED_FEATURES" : "",
      gpu.cores, gpu.fpus_per_core, gpu.clock_ghz, static_cast<int64_t>(gpu.bandwidth),
      static_cast<int64_t>(gpu.capacity_bytes), gpu.l2_bytes, gpu.threads_per_core, gpu.shared_per_block,
      gpu.shared_per_core, gpu.device_name);
}

}  // namespace gavel
