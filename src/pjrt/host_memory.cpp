#include "pjrt/host_memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"

namespace gavel::pjrt {

void tune_host_allocator([[maybe_unused]] size_t huge_page_bytes) {
#ifdef __GLIBC__
  // Executions run on threads of the plugin, whose own arenas can't hold blocks of more than 64 MB.
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
  if (huge_page_bytes == 0) return;
  // A block taken from the heap and given back grows the heap without touching its pages.
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  void* block = std::malloc(huge_page_bytes);
  if (block == nullptr) return;
  uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + kHugePage - 1) / kHugePage * kHugePage;
  uintptr_t end = (reinterpret_cast<uintptr_t>(block) + huge_page_bytes) / kHugePage * kHugePage;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  std::free(block);
#endif
}

void limit_cpu_threads(int threads) {
  if (threads < 1) fail("threads: expected a positive number, found {}", threads);
  ::setenv("PJRT_NPROC", std::to_string(threads).c_str(), 1);
}

}  // namespace gavel::pjrt
