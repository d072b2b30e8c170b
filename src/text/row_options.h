#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace gavel {

/** Where tokens are taken away or put. */
enum class Side { kLeft, kRight };

/** The section "truncation" of tokenizer.json, as `tokenizers` applies it to one text: what the template adds counts
 * towards max_length and is never cut. */
struct TruncationParams {
  enum class Strategy { kLongestFirst, kOnlyFirst, kOnlySecond };
  size_t max_length = 512;
  Side direction = Side::kRight;  // the end that gives way
  Strategy strategy = Strategy::kLongestFirst;
  size_t stride = 0;  // overlap of the parts that are cut off, which are not kept here; below max_length
  bool operator==(const TruncationParams&) const = default;
};

/** The section "padding" of tokenizer.json. */
struct PaddingParams {
  static constexpr size_t kMaxLength = size_t{1} << 24;
  std::optional<size_t> length;  // strategy Fixed; without: the batch's longest row
  Side direction = Side::kRight;
  size_t pad_to_multiple_of = 0;  // 0: any length
  int32_t pad_id = 0;
  int32_t pad_type_id = 0;  // read and kept, not used: rows here have no type ids
  std::string pad_token = "[PAD]";
  bool operator==(const PaddingParams&) const = default;
};

/** How texts become rows: what Hugging Face calls add_special_tokens, truncation and padding. */
struct RowOptions {
  bool add_special_tokens = false;  // the template's tokens, Tokenizer::prefix() and suffix()
  std::optional<TruncationParams> truncation;
  std::optional<PaddingParams> padding;
};

}  // namespace gavel
