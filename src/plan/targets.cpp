#include "plan/targets.h"

#include <fmt/ranges.h>
#include <sys/sysinfo.h>

#include <cstdlib>
#include <map>

#include "pjrt/platform_options.h"
#include "plan/gpus.h"

namespace gavel {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

struct TpuGeneration {
  std::string name;
  std::string device;
  int64_t cores_per_chip;                  // by which the target's number counts; 1: it counts chips
  int64_t devices_per_chip;                // PJRT devices
  double capacity_bytes, bf16, bandwidth;  // of a device
  double link;                             // bytes per second that one link brings a chip
  double clock;
  std::map<int64_t, std::string> shapes;  // chips → how they are wired
};

// Sources: Google's "Cloud TPU" pages of each version (peak, memory and its bandwidth, interconnect of a chip: 1600 Gbps over
// 4 ports of v5e, 3584 Gbps over 4 of v6e, 2400 and 4800 Gbps over 6 of v4 and v5p); for v3 Jouppi et al., "A domain-specific
// supercomputer for training deep neural networks" (4 links of 656 Gbit/s). Clocks are the peaks divided by the matrix units'
// products: two of 128 x 128 on a v3 core, four on a v4 or v5p core and a v5e chip, four of 256 x 256 on a v6e chip.
const std::vector<TpuGeneration>& generations() {
  static const std::map<int64_t, std::string> flat = {{1, "1x1"},  {4, "2x2"},  {8, "2x4"},    {16, "4x4"},
                                                      {32, "4x8"}, {64, "8x8"}, {128, "8x16"}, {256, "16x16"}};
  static const std::map<int64_t, std::string> cube = {{4, "2x2x1"},  {8, "2x2x2"},   {16, "2x2x4"},  {32, "2x4x4"},
                                                      {64, "4x4x4"}, {128, "4x4x8"}, {256, "4x8x8"}, {512, "8x8x8"}};
  static const std::map<int64_t, std::string> v3 = {{4, "2x2"}, {16, "4x4"}, {64, "8x8"}, {256, "16x16"}};
  static const std::vector<TpuGeneration> all = {
      {"v3", "TPU v3 core", 2, 2, 16 * kGiB, 61.5e12, 450e9, 82e9, 0.94e9, v3},
      {"v4", "TPU v4 chip", 2, 1, 32 * kGiB, 275e12, 1228e9, 50e9, 1.05e9, cube},
      {"v5e", "TPU v5e chip", 1, 1, 16 * kGiB, 197e12, 819e9, 50e9, 1.5e9, flat},
      {"v5p", "TPU v5p chip", 2, 1, 95 * kGiB, 459e12, 2765e9, 100e9, 1.75e9, cube},
      {"v6e", "TPU v6e chip", 1, 1, 32 * kGiB, 918e12, 1640e9, 112e9, 1.75e9, flat},
  };
  return all;
}

/** Links of the chip that has the fewest, at a corner of the slice. An axis closes to a ring, with two links for every chip,
 * where it is 16 long (v5e, v6e) or the slice is made of whole cubes of 4 x 4 x 4 (v4, v5p). A v3 chip is given its four:
 * how its slices are closed is not published. */
int64_t fewest_links(const TpuGeneration& tpu, const std::string& shape) {
  if (tpu.name == "v3") return 4;
  std::vector<int64_t> axes;
  for (size_t at = 0; at < shape.size();
       at = shape.find('x', at) == std::string::npos ? shape.size() : shape.find('x', at) + 1)
    axes.push_back(std::stoll(shape.substr(at)));
  bool cubes = axes.size() == 3;
  for (int64_t axis : axes) cubes = cubes && axis % 4 == 0;
  int64_t links = 0;
  for (int64_t axis : axes) links += axis == 1 ? 0 : cubes || axis == 16 ? 2 : 1;
  return links;
}

}  // namespace

double Target::peak_flops(DType type) const {
  const double narrow = type == DType::kBF16 ? bf16_flops : type == DType::kF16 ? f16_flops : 0;
  return narrow > 0 ? narrow : f32_flops;
}

double Target::usable_bytes() const {
  return plugin == "cuda" ? capacity_bytes * pjrt::cuda_memory_fraction() : capacity_bytes;
}

std::vector<std::string> target_names() {
  std::vector<std::string> names = {"cpu"};
  for (const Gpu& gpu : gpus())
    for (int64_t count : {1, 2, 4, 8}) names.push_back(fmt::format("{}x{}", gpu.name, count));
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
  for (const Gpu& gpu : gpus())
    for (int64_t count : {1, 2, 4, 8}) {
      const std::string full = fmt::format("{}x{}", gpu.name, count);
      if (name != full && !(count == 1 && name == gpu.name)) continue;
      target.name = full;
      target.plugin = "cuda";
      target.topology = fmt::format("1x1x{}", count);
      target.options = {{"target_config", xla_description(gpu)}, {"topology", target.topology}};
      target.devices = count;
      target.device_name = gpu.device_name;
      target.capacity_bytes = gpu.capacity_bytes;
      target.bf16_flops = gpu.bf16;
      target.f16_flops = gpu.f16;
      target.f32_flops = gpu.f32;
      target.bandwidth = gpu.bandwidth;
      target.link_bandwidth = count > 1 ? gpu.link : 0;
      target.link_name = gpu.link_name;
      target.sums_in_switch = gpu.sums_in_switch;
      target.compute_capability = 10 * gpu.major + gpu.minor;
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
      target.bf16_flops = tpu.bf16;
      target.f32_flops = tpu.bf16 / 6;  // at the highest precision, which Gavel asks for, six bfloat16 products are one
      target.bandwidth = tpu.bandwidth;
      target.clock = tpu.clock;
      const int64_t links = fewest_links(tpu, shape);
      target.link_bandwidth = static_cast<double>(links) * tpu.link;
      target.link_name = fmt::format("{} link{} of {:.0f} GB/s", links, links == 1 ? "" : "s", tpu.link / 1e9);
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
