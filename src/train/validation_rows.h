#pragma once
#include <filesystem>

#include "data/dataset.h"
#include "judge/evaluate.h"

namespace gavel {

/** Replaces validation.jsonl (docs/files.md) by what the judge says of each row of the dataset after `step` optimizer
 * steps. Throws Error when it can't be written. */
void write_validation_rows(const std::filesystem::path& path, int64_t step, const TokenizedDataset& dataset,
                           const Judgement& judgement);

}  // namespace gavel
