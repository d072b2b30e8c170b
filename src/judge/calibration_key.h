#pragma once
#include <filesystem>

#include "judge/calibration.h"
#include "recipe/recipe.h"

namespace gavel {

/** What a calibration of this adapter, with this base (a file or a folder) and these settings, belongs to. The adapter
 * is read whole; of the base's files sizes and some hundred spread pieces are, so that a large one costs little. */
CalibrationKey calibration_key(const std::filesystem::path& adapter, const std::filesystem::path& base,
                               const Recipe& recipe);

}  // namespace gavel
