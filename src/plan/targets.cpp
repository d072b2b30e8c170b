#include "plan/targets.h"

#include <fmt/ranges.h>
#include <sys/sysinfo.h>

#include <cstdlib>
#include <map>

namespace gavel {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

struct TpuGeneration {
  std::string name;
  std::string device;
  int64_t cores_per_chip;                        // by which the target's number counts; 1: it counts chips
  int64_t devices_per_chip;                      // PJRT devices
  double capacity_bytes, peak_flops, bandwidth;  // of a device
  std::map<int64_t, std::string> shapes;         // chips → how they are wired
};

const std::vector<TpuGeneration>& generations() {
  static const std::map<int64_t, std::string> flat = {{1, "1x1"},  {4, "2x2"},  {8, "2x4"},    {16, "4x4"},
                                                      {32, "4x8"}, {64, "8x8"}, {128, "8x16"}, {256, "16x16"}};
  static const std::map<int64_t, std::string> cube = {{4, "2x2x1"},  {8, "2x2x2"},   {16, "2x2x4"},  {32, "2x4x4"},
                                                      {64, "4x4x4"}, {128, "4x4x8"}, {256, "4x8x8"}, {512, "8x8x8"}};
  static const std::map<int64_t, std::string> v3 = {{4, "2x2"}, {16, "4x4"}, {64, "8x8"}, {256, "16x16"}};
  static const std::vector<TpuGeneration> all = {
      {"v3", "TPU v3 core", 2, 2, 16 * kGiB, 61.5e12, 450e9, v3},
      {"v4", "TPU v4 chip", 2, 1, 32 * kGiB, 275e12, 1228e9, cube},
      {"v5e", "TPU v5e chip", 1, 1, 16 * kGiB, 197e12, 819e9, flat},
      {"v5p", "TPU v5p chip", 2, 1, 95 * kGiB, 459e12, 2765e9, cube},
      {"v6e", "TPU v6e chip", 1, 1, 32 * kGiB, 918e12, 1640e9, flat},
  };
  return all;
}

/** What XLA's compiler asks of an H100 SXM (xla.GpuTargetConfigProto); sizes from NVIDIA's H100 datasheet and
 * the CUDA programming guide's table for compute capability 9.0. */
constexpr const char* kH100 = R"(gpu_device_info {
  name: "NVIDIA H100 80GB HBM3"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3350000000000
  device_memory_size: 84942979072
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  device_address_bits: 64
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
)";

}  // namespace

std::vector<std::string> target_names() {
  std::vector<std::string> names = {"cpu"};
  for (int64_t count : {1, 2, 4, 8}) names.push_back(fmt::format("h100x{}", count));
  for (const TpuGeneration& tpu : generations())
    for (const auto& [chips, shape] : tpu.shapes)
      names.push_back(fmt::format("tpu-{}-{}", tpu.name, chips * tpu.cores_per_chip));
  return names;
}

Target find_target(const std::string& name, int64_t cpu_devices) {
  Target target;
  target.name = name;
  if (name == "cpu") {
    target.plugin = "cpu";
    target.devices = cpu_devices;
    struct sysinfo info{};
    if (::sysinfo(&info) == 0)
      target.capacity_bytes = static_cast<double>(info.totalram) * info.mem_unit / static_cast<double>(cpu_devices);
    target.device_name = cpu_devices == 1 ? "this machine" : "virtual device of this machine";
    return target;
  }
  for (int64_t count : {1, 2, 4, 8}) {
    if (name != fmt::format("h100x{}", count)) continue;
    target.plugin = "cuda";
    target.topology = fmt::format("1x1x{}", count);
    target.options = {{"target_config", std::string(kH100)}, {"topology", target.topology}};
    target.devices = count;
    target.device_name = "NVIDIA H100 80GB";
    target.capacity_bytes = 84942979072.0;
    target.peak_flops = 989e12;
    target.bandwidth = 3350e9;
    return target;
  }
  for (const TpuGeneration& tpu : generations())
    for (const auto& [chips, shape] : tpu.shapes) {
      if (name != fmt::format("tpu-{}-{}", tpu.name, chips * tpu.cores_per_chip)) continue;
      target.plugin = "tpu";
      target.topology = fmt::format("{}:{}", tpu.name, shape);
      // Two cores that appear as one device; libtpu has them apart unless it is told.
      if (tpu.name == "v4") target.options = {{"chip_config_name", std::string("megacore")}};
      target.devices = chips * tpu.devices_per_chip;
      target.device_name = tpu.device;
      target.capacity_bytes = tpu.capacity_bytes;
      target.peak_flops = tpu.peak_flops;
      target.bandwidth = tpu.bandwidth;
      return target;
    }
  fail("--target {}: not known{}; known are {}", name, did_you_mean(name, target_names()),
       fmt::join(target_names(), ", "));
}

void prepare_environment(const Target& target) {
  if (target.plugin != "tpu") return;
  // A value that the user set stays.
  ::setenv("TPU_SKIP_MDS_QUERY", "1", 0);
  ::setenv("TPU_ACCELERATOR_TYPE", target.name.substr(4).c_str(), 0);
  ::setenv("TPU_WORKER_HOSTNAMES", "localhost", 0);
  ::setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1", 0);
}

}  // namespace gavel
