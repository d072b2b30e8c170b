#pragma once
#include "base/random.h"
#include "data/dataset.h"

namespace gavel {

/** Rows of 2 to `longest` tokens with soft labels, the same each time; ids are 3 to 2 + `ids`, and 2 is the pad token. */
inline TokenizedDataset random_rows(int64_t count, int64_t longest, uint64_t ids) {
  TokenizeOptions options;
  options.max_length = longest;
  TextEncoder encoder;
  encoder.encode = [](std::string_view, std::vector<int32_t>&) {};
  encoder.pad_id = 2;
  DatasetBuilder builder(options, encoder);
  Random random(5);
  for (int64_t row = 0; row < count; ++row) {
    std::vector<int32_t> tokens;
    auto length = 2 + random.below(static_cast<uint64_t>(longest - 1));
    for (uint64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>(3 + random.below(ids)));
    auto a = static_cast<float>(random.uniform()), b = static_cast<float>(random.uniform()) * (1 - a);
    builder.add_tokens(std::move(tokens), {a, b, 1 - a - b});
  }
  return builder.finish();
}

}  // namespace gavel
