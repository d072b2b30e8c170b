#pragma once
#include <cstddef>
#include <functional>

namespace gavel {

/** `requested`, or the number of cores when it is 0 or less. */
int worker_count(int requested);

/** Calls body(begin, end) on pieces of [0, count) of at most `piece` items, on up to `threads` threads (0 = all cores),
 * and waits; a single thread gets all items in one call. The first exception is thrown again here after all threads
 * ended, and no further pieces are begun once there is one. */
void parallel_for(size_t count, size_t piece, int threads, const std::function<void(size_t, size_t)>& body);

}  // namespace gavel
