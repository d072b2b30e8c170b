#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "judge/eval_file.h"

namespace gavel {

// What `gavel eval` says of a judge beside the baselines, and of its calibration.

/** Where the judge's log loss is below a baseline's, by how much, and by how many standard errors (paired over the
 * rows). `from`: the file that the baselines were fitted on; "" = cross-validated on the judged rows. */
std::string baselines_text(const FileEvaluation& found, const std::string& from);
nlohmann::ordered_json baselines_json(const FileEvaluation& found, const std::string& from);

/** The baselines' log losses, for calibration.json. */
std::vector<CalibrationFigure> baseline_figures(const FileEvaluation& found, const std::string& from);

/** What the calibration in use does to the log loss on these rows; "" for none. */
std::string calibration_gain(const FileEvaluation& found);

/** A table of a fitted calibration's figures. */
std::string calibration_text(const Calibration& calibration);

}  // namespace gavel
