#pragma once
#include <cstdint>

namespace gavel {

// How the segments of a batch are numbered where texts that begin alike hold their common beginning, the prefix, only once:
// group g (0, 1, ...) has the numbers 4 g + 4 for the prefix and 4 g + 5 and 4 g + 6 for what follows it, in each of two
// texts. A token sees the earlier tokens of its own segment and those of its prefix, and never the other text. A text without
// a prefix has a group for itself. 0 is padding.

/** A group's numbers; the first is the prefix's. */
inline constexpr int32_t kSegmentGroup = 4;

/** The first number of group `group`. */
constexpr int32_t prefix_of_group(int32_t group) {
  return kSegmentGroup * (group + 1);
}

/** The number of the prefix that belongs to a segment; a prefix's own for a prefix. */
constexpr int32_t prefix_of(int32_t segment) {
  return segment - segment % kSegmentGroup;
}

}  // namespace gavel
