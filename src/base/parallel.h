#pragma once
#include <cstddef>
#include <functional>

namespace gavel {

/** Number of worker threads meant by `requested` (0 = all cores). */
int worker_count(int requested);

/** Calls body(begin, end) on pieces of [0, count) of at most `piece` items, on up to `threads` threads (0 =
 * all cores), and waits. The first exception is thrown again here after all threads ended. */
void parallel_for(size_t count, size_t piece, int threads, const std::function<void(size_t, size_t)>& body);

}  // namespace gavel
