#pragma once
#include <cstdint>
#include <optional>

namespace gavel {

/** The numbers that stand beside a block's codes where groups have no scales of their own, but shares of what their block has,
 * as in GGUF's K-quants (spec/quantisation.h). They are float16: a factor, then each group's scale as a multiple of it, where
 * there are several groups; and where weights have a minimum, that of the block and of the groups in the same way behind them.
 * A weight is code * (factor * scale) - (factor of minima * minimum), of which the products are exact in float32.
 *
 * Codes of four bits are 0 to 15 where there is a minimum, and -8 to 7, held 8 higher, where there is none. */
struct BlockScales {
  int64_t groups = 1;  // 1, or an even number
  bool minima = false;

  /** How many numbers a factor and its groups' multiples are. */
  int64_t of_each() const { return groups == 1 ? 1 : 1 + groups; }
  int64_t count() const { return minima ? 2 * of_each() : of_each(); }
  /** From how many numbers a block has, which says all; nothing for a count that says nothing. */
  static std::optional<BlockScales> of_count(int64_t count) {
    const bool minima = count % 2 == 0;
    const int64_t each = minima ? count / 2 : count;
    if (each < 1 || each % 2 == 0) return std::nullopt;
    return BlockScales{each == 1 ? 1 : each - 1, minima};
  }
};

/** What is added to a code of four bits, so that it is held as a number from 0 to 15. */
inline constexpr int kSignedCodesAbove = 8;

}  // namespace gavel
