#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "pjrt/plugin.h"

namespace gavel::pjrt {

/** How to compile a program. Replicas are always 1: data parallelism is an axis of the mesh. */
struct CompileOptions {
  /** Devices of the program; above 1 the SPMD partitioner runs. */
  int64_t num_partitions = 1;
  /** Shardings are Shardy's (sdy dialect), not GSPMD's. */
  bool use_shardy = true;
  /** Global device ids in mesh order; empty leaves the choice to the plugin (0, 1, …). */
  std::vector<int64_t> device_ids;
  /** XLA debug options by field name, for example {"xla_cpu_enable_fast_math", false}. */
  Options overrides;
  /** The same, of options that a plugin of another version may not know: one that it refuses is left out, with a warning. */
  Options preferences;
  /** Bytes of a device that the compiler may plan with; 0: its own idea. */
  int64_t device_memory = 0;
};

/** xla::CompileOptionsProto in wire format (xla/pjrt/proto/compile_options.proto). Equal options give equal
 * bytes. Throws Error when the number of device ids is not num_partitions, or an override is a list. */
std::string encode(const CompileOptions& options);

}  // namespace gavel::pjrt
