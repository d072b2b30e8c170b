#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "data/template.h"
#include "data/text_encoder.h"
#include "rows/choices.h"

namespace gavel {

struct EncodeOptions {
  Template text = Template::parse("origin");
  Truncation truncation = Truncation::kRight;
  /** Tokens at most, the tokenizer's prefix and suffix included. */
  int64_t max_length = 1024;
  /** What prompt, A and B keep with kProportional; they sum to 1. */
  std::array<double, 3> proportional_shares = {0.2, 0.4, 0.4};
};

struct EncodedText {
  std::vector<int32_t> ids;  // prefix and suffix included
  /** Tokens before truncation, prefix and suffix included. */
  int64_t full_length = 0;
};

/** The tokens of a row (with `swap`, of the row with A and B exchanged). A text that fits is encoded as a whole; a
 * longer one is cut to exactly max_length, except that kProportional can stay below it after dropping whole rounds. A row
 * that is written_out is encoded as it is, with the tokenizer's prefix and suffix where it does not have them; too long, it
 * loses its begin, so that the answer's end stays, or with kRight its end.
 * Throws Error when max_length has no room for the template's words (kProportional) or for prefix and suffix. */
EncodedText encode_row(const PreferenceRow& row, bool swap, const EncodeOptions& options, const TextEncoder& encoder);

/** Splits `budget` tokens over parts that want `wanted` tokens each, by `shares`; what a part leaves free
 * goes to the others. The results sum to min(budget, sum of wanted). */
std::vector<int64_t> share_budget(int64_t budget, const std::vector<int64_t>& wanted,
                                  const std::vector<double>& shares);

}  // namespace gavel
