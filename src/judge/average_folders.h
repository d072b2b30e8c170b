#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/combine.h"

namespace gavel {

/** Writes to `out` the mean of the adapters of these folders as a folder that judges: adapter, head, tokenizer and the first
 * one's recipe. `model`: the base, where it is not where the adapters say. With `overwrite` the files of a model or
 * an adapter that are in `out` go first. Returns the mean's rank. Throws Error when they
 * are of different base models, and as average_adapters() does. */
int64_t average_folders(const std::vector<std::filesystem::path>& adapters, const std::optional<std::string>& model,
                        const std::filesystem::path& out, AverageMethod method, bool overwrite = false);

}  // namespace gavel
