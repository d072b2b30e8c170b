#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** A GPU as its maker describes it; see the table of facts in gpus.cpp. */
struct Gpu {
  std::string_view name;         // "a100-80": what stands before xN in a target's name
  std::string_view device_name;  // as the driver spells it
  double capacity_bytes;         // what CUDA gives to programs
  double bf16, f16, f32;         // dense products per second; 0: not in the hardware
  double bandwidth;              // bytes per second of its memory
  double link;                   // bytes per second that it takes in from others
  std::string_view link_name;
  bool sums_in_switch;  // NVSwitch adds up what an all-reduce sends

  // What XLA's compiler asks beside these.
  int major, minor;  // compute capability
  int cores, fpus_per_core;
  double clock_ghz;
  int64_t l2_bytes, shared_per_core, shared_per_block, threads_per_core;
};

const std::vector<Gpu>& gpus();

/** The text of an xla.GpuTargetConfigProto, from which the CUDA plugin compiles for a GPU that is not there. */
std::string xla_description(const Gpu& gpu);

}  // namespace gavel
