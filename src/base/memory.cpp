#include "base/memory.h"

#include <malloc.h>

#include <cstdint>
#include <cstdlib>

// jemalloc's, in programs that are linked with it.
extern "C" __attribute__((weak)) int mallctl(const char* name, void* old_value, size_t* old_size, void* new_value,
                                             size_t new_size);

namespace gavel {

void release_freed_memory() {
  if (mallctl != nullptr)
    mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);  // 4096 = MALLCTL_ARENAS_ALL
  else
    ::malloc_trim(0);
}

std::optional<size_t> allocated_memory() {
  if (mallctl == nullptr) return {};
  uint64_t epoch = 1;  // its figures are those of the last epoch
  size_t bytes = 0, size = sizeof(bytes);
  if (mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch)) != 0 ||
      mallctl("stats.allocated", &bytes, &size, nullptr, 0) != 0)
    return {};
  return bytes;
}

void release_freed_memory_but_reserve(size_t bytes) {
  release_freed_memory();
  // Never touched, so it costs no memory; volatile, since compilers leave out a block that nobody uses.
  void* volatile block = std::malloc(bytes);
  std::free(block);
}

}  // namespace gavel
