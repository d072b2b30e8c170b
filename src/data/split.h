#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** What a split needs to know of a row. */
struct RowKey {
  uint64_t prompt_hash = 0;  // rows of one prompt stay together
  std::array<float, 3> label{};
};
RowKey row_key(const PreferenceRow& row);

/** Indices of rows, in file order. */
struct Split {
  std::vector<int64_t> train, valid;
};

/** Takes about `valid_share` (0 to below 1) of the rows for validation, with the label shares of the whole and no
 * prompt on both sides. A pure function of rows and seed. Share 0 leaves `valid` empty. Throws Error for another share,
 * or when a side would be empty. */
Split split_rows(std::span<const RowKey> rows, double valid_share, uint64_t seed);

/** The validation rows of each of `folds` folds, made in the same way; together they are all rows, each once. Throws
 * Error unless `folds` is 2 to the number of rows. */
std::vector<std::vector<int64_t>> fold_rows(std::span<const RowKey> rows, int64_t folds, uint64_t seed);

/** The split whose validation rows are fold number `fold` (from 0) of fold_rows(). Throws Error when a side would be
 * empty. */
Split fold_split(std::span<const RowKey> rows, int64_t folds, int64_t fold, uint64_t seed);

std::vector<RowKey> row_keys(std::span<const PreferenceRow> rows);

/** count * fraction, rounded down as the reference notebook does: how many rows from the file's start are used. Throws
 * Error when that is none, or the fraction is not above 0 and at most 1. */
int64_t fraction_count(int64_t count, double fraction);

/** Copies of the rows at `indices`. */
std::vector<PreferenceRow> select_rows(const std::vector<PreferenceRow>& rows, const std::vector<int64_t>& indices);

/** How many rows of `valid` have a prompt that `train` has too (for a validation file of one's own). */
int64_t count_shared_prompts(std::span<const RowKey> train, std::span<const RowKey> valid);

}  // namespace gavel
