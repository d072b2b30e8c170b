#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/encode.h"

namespace gavel {

/** Rows as tokens, with what batching needs; immutable. Copies share the data. */
class TokenizedDataset {
 public:
  int64_t num_rows() const { return static_cast<int64_t>(labels_->size()); }
  /** Tokens of a row; `swap` = of its A/B exchange, which has_swapped() must offer. At least one. */
  std::span<const int32_t> tokens(int64_t row, bool swap = false) const;
  int64_t length(int64_t row, bool swap = false) const;
  /** Tokens before truncation (not exchanged). */
  int64_t full_length(int64_t row) const { return (*full_lengths_)[static_cast<size_t>(row)]; }
  /** {A, B, tie}; all zero when the row has no label. */
  std::array<float, 3> label(int64_t row, bool swap = false) const;
  int64_t source_row(int64_t row) const { return (*source_rows_)[static_cast<size_t>(row)]; }
  bool has_swapped() const { return variants_ == 2; }
  int32_t pad_id() const { return pad_id_; }
  std::vector<int64_t> lengths() const;
  std::vector<int64_t> full_lengths() const;

 private:
  friend class DatasetBuilder;
  int64_t variants_ = 1;
  int32_t pad_id_ = 0;
  std::shared_ptr<const std::vector<int32_t>> tokens_;
  /** Start of each row's tokens, exchanged rows right after their originals; one more at the end. */
  std::shared_ptr<const std::vector<int64_t>> offsets_;
  std::shared_ptr<const std::vector<std::array<float, 3>>> labels_;
  std::shared_ptr<const std::vector<int64_t>> source_rows_;
  std::shared_ptr<const std::vector<int64_t>> full_lengths_;
};

struct TokenizeOptions : EncodeOptions {
  /** Also encode every row with A and B exchanged (for swaps in training and swap averaging). */
  bool with_swapped = false;
  /** 0 = all cores. */
  int threads = 0;
};

/** Collects tokenized rows in order. */
class DatasetBuilder {
 public:
  DatasetBuilder(TokenizeOptions options, const TextEncoder& encoder);
  /** Tokenizes the rows on all threads and appends them. */
  void add(std::span<const PreferenceRow> rows);
  /** Appends one row that is tokens already (tests, parity); `swapped` is needed with with_swapped. */
  void add_tokens(std::vector<int32_t> tokens, std::array<float, 3> label, std::vector<int32_t> swapped = {});
  TokenizedDataset finish();

 private:
  TokenizeOptions options_;
  TextEncoder encoder_;
  std::vector<int32_t> tokens_;
  std::vector<int64_t> offsets_{0};
  std::vector<std::array<float, 3>> labels_;
  std::vector<int64_t> source_rows_, full_lengths_;
};

/** All rows at once. */
TokenizedDataset tokenize(std::span<const PreferenceRow> rows, const TokenizeOptions& options,
                          const TextEncoder& encoder);

}  // namespace gavel
