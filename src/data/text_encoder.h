#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** What src/data needs of a tokenizer, so that it does not depend on one. */
struct TextEncoder {
  /** Appends the ids of the text, without prefix and suffix. Called from several threads at once. */
  std::function<void(std::string_view, std::vector<int32_t>&)> encode;
  /** Bytes from `first` to before `second`. */
  using ByteRange = std::pair<size_t, size_t>;
  /** The same of a text with parts that are a stranger's, in rising order: special tokens written there are text. When it
   * is not set, encode() stands for it. */
  std::function<void(std::string_view, std::span<const ByteRange>, std::vector<int32_t>&)> encode_around;
  /** Ids the tokenizer's template puts before and after every text (Llama 3: begin of text). */
  std::vector<int32_t> prefix, suffix;
  /** Negative when the model has no pad token. */
  int32_t pad_id = 0;
  /** Names the tokenizer's content (a hash of its file), for the token cache; "" = never cached. */
  std::string fingerprint;
};

}  // namespace gavel
