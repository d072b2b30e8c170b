#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace gavel {

/** Puts items of the given lengths into bins of `capacity`: longest first, each into the fullest bin that
 * still has room (best fit decreasing; Johnson, 1974). Within a bin items are in input order; bins are
 * ordered by their first item. Returns each bin's items as indices into `lengths`. Throws Error when an item is longer
 * than `capacity`. */
std::vector<std::vector<int64_t>> pack(std::span<const int64_t> lengths, int64_t capacity);

/** At most `max_sizes` sizes, ascending, the last being `largest`, that keep the sum over all values of
 * (smallest size >= value) as small as possible. Sizes are multiples of `multiple`, except that none is above
 * `largest`. Values must be at most `largest`. Exact, by dynamic programming. */
std::vector<int64_t> choose_sizes(std::span<const int64_t> values, int64_t multiple, int64_t largest,
                                  int64_t max_sizes);

/** The smallest of the ascending sizes that is at least `value`. */
int64_t fitting_size(std::span<const int64_t> sizes, int64_t value);

}  // namespace gavel
