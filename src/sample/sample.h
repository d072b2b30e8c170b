#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** Made-up preference pairs for the demo and for tests: a pure function of (rows, seed). The better answer follows from
 * a rule:
 *  - it is about the thing asked for, the other is about something else;
 *  - it is complete, the other stops in mid-sentence;
 *  - its arithmetic is right, the other's is wrong;
 *  - none of these: a tie (two good answers, or the same answer twice).
 * A and B win equally often, no prompt comes twice, and answers with and without a fault are of like length.
 * Throws Error unless 1 to 1,000 rows are asked for. */
std::vector<PreferenceRow> sample_rows(int64_t rows, uint64_t seed);

/** Writes `rows` pairs as an LMSYS CSV; with `path_test`, `test_rows` more with other prompts. */
void make_sample(const std::filesystem::path& path_train, const std::optional<std::filesystem::path>& path_test,
                 int64_t rows, int64_t test_rows, uint64_t seed);

}  // namespace gavel
