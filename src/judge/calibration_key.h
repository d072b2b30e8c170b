#pragma once
#include <filesystem>
#include <vector>

#include "judge/calibration.h"
#include "recipe/recipe.h"

namespace gavel {

/** What a calibration of an adapter, or of several that judge together, with this base (a file or a folder) and these
 * settings belongs to. Adapters are read whole; of the base's files sizes and some hundred spread pieces are, so that a
 * large one costs little. */
CalibrationKey calibration_key(const std::vector<std::filesystem::path>& adapters, const std::filesystem::path& base,
                               const Recipe& recipe);

}  // namespace gavel
