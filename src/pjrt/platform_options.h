#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "pjrt/compile_options.h"
#include "pjrt/plugin.h"

namespace gavel::pjrt {

class Client;
class Topology;

// What Gavel asks of each kind of plugin, in one place: how a client is made, and how a program is compiled. Each option's reason
// stands beside it in platform_options.cpp, what users can change in docs/performance.md.

/** What a client is opened for. */
enum class ClientUse : uint8_t {
  kRun,   // takes the device's memory for itself
  kLook,  // leaves it to others: doctor
};

/** The share of a CUDA device's memory that Gavel takes: 0.92, or GAVEL_CUDA_MEMORY_FRACTION. Throws Error where that is not a
 * number above 0 and up to 1. */
double cuda_memory_fraction();

/** Options of a client of the plugin `device`: "cpu", "cuda", "tpu", or a plugin's path, of which the file's name tells. For CUDA also
 * from GAVEL_CUDA_ALLOCATOR and GAVEL_CUDA_DEVICES. Throws Error where one of these is not as expected. */
Options client_options(std::string_view device, ClientUse use = ClientUse::kRun);

/** Adds what each program of the platform is compiled with, by the platform's name ("cuda", "tpu", …) and the kind of its devices
 * ("TPU v6 lite"). `memory`: bytes of a device that a program may take, 0 or less: not known. `cuda_folder`: that of the CUDA
 * toolkit's files beside the plugin, or empty. An option that the user's XLA_FLAGS or LIBTPU_INIT_ARGS names is left to these. */
void add_platform_options(CompileOptions& options, std::string_view platform, std::string_view kind, int64_t memory,
                          std::string_view cuda_folder = {});
/** The same for devices that are there, */
void add_platform_options(CompileOptions& options, const Client& client);
/** or are not. */
void add_platform_options(CompileOptions& options, const Topology& topology, int64_t memory);

/** Where a plugin says that it does not know one of `options.preferences`: takes that out and returns its name; else returns "". */
std::string drop_refused(CompileOptions& options, std::string_view error);

}  // namespace gavel::pjrt
