#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "report/metrics.h"
#include "report/validation_file.h"

namespace gavel {

/** What is read from a run's folder (docs/files.md). What the folder does not have is empty: the run may be under way,
 * stopped early, or of an older version. */
struct RecordedRun {
  std::filesystem::path folder;
  std::string name;  // the folder's
  std::vector<MetricRow> train, evals;
  ValidationRows validation;
  /** The logit of a tie that a reward learnt, of reward.json. */
  std::optional<double> tie_logit;
  std::string recipe;                  // YAML
  nlohmann::ordered_json info;         // run.json; an object
  nlohmann::ordered_json calibration;  // calibration.json; an object, or null
  std::vector<std::string> notes;      // what could not be read, and why
};

/** Reads a run's folder. Throws Error when there is neither metrics.jsonl nor recipe.yaml, so that it is no run, or when it
 * is the folder of several. */
RecordedRun read_run(const std::filesystem::path& folder);

/** The settings of a recipe's YAML as "section.key" and value, in order; nested values stay as they are
 * written. */
std::vector<std::pair<std::string, std::string>> recipe_settings(const std::string& yaml);

}  // namespace gavel
