#pragma once
#include <filesystem>
#include <span>
#include <vector>

#include "report/scores.h"

namespace gavel {

/** Writes validation.jsonl (docs/files.md): what a judge said of each row after `step` optimizer steps. The
 * file is replaced as a whole. */
void write_validation(const std::filesystem::path& path, int64_t step, std::span<const JudgedRow> rows);

struct ValidationRows {
  int64_t step = 0;
  std::vector<JudgedRow> rows;
};
/** Reads what write_validation() wrote. Throws Error naming file and line. */
ValidationRows read_validation(const std::filesystem::path& path);

}  // namespace gavel
