#pragma once
#include <cstddef>

namespace gavel::pjrt {

/** Lets the process keep the memory that the CPU plugin frees. The plugin allocates the temporaries of each
 * execution anew with the process's malloc, and glibc by default maps and unmaps such large blocks every
 * time, so that each execution pays for its page faults again (a fifth of a training step on some machines).
 * After this call large blocks come from the one heap, which is never shrunk. Price: memory that was used
 * once stays with the process, and blocks of odd sizes can leave gaps.
 *
 * `huge_page_bytes`, when not 0, also asks the kernel for 2 MB pages in so much of the heap (address space,
 * not memory, until it is used); needs transparent huge pages at "madvise" or "always", and does nothing
 * where that fails.
 *
 * Call once at the start of the process, before threads exist. Does nothing but with glibc. */
void tune_host_allocator(size_t huge_page_bytes = 0);

/** Bounds the threads of the CPU plugin's pools (by default one per processor and pool) by way of its
 * environment variable PJRT_NPROC. Holds for clients created afterwards. Throws Error unless `threads` is
 * positive. Not to be called while other threads read the environment. */
void limit_cpu_threads(int threads);

}  // namespace gavel::pjrt
