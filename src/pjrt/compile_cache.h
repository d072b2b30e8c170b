#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "pjrt/client.h"

namespace gavel::pjrt {

struct CacheOptions {
  /** Made when it is not there; for example cache_folder() / "compiled". Empty: compile, keep nothing. */
  std::filesystem::path folder;
  /** Oldest-used entries are removed when the folder holds more than this. */
  uint64_t max_bytes = uint64_t{2} << 30;
  /** Anything else that the result depends on, for example Gavel's build and the kernels' thread count. */
  std::string extra_key;
};

struct CachedCompile {
  Executable executable;
  bool hit = false;      // loaded, not compiled
  double seconds = 0.0;  // that loading or compiling took
};

/** Client::compile with a cache on disk. An entry's name is a 64-bit hash, but the entry also holds the whole
 * key (program, options, Client::fingerprint: plugin, platform, topology, processor, threads; extra_key),
 * which is compared byte for byte, so a collision costs a compilation and never gives a wrong program. A
 * torn, altered or refused entry is compiled anew and replaced; a folder that can't be written to, or a
 * plugin that can't serialise, gives a warning in the log. Entries are written atomically, so processes can
 * share the folder. Entries hold machine code, so each carries a digest keyed with a secret that lies in the folder for
 * this user alone to read (.key): one that came there in another way is not loaded. Where others can read the secret, nothing
 * is loaded or kept. The folder is made, or becomes, one of this user alone. */
CachedCompile compile_cached(Client& client, std::string_view mlir, const CompileOptions& options,
                             const CacheOptions& cache, std::string_view name = "program");

}  // namespace gavel::pjrt
