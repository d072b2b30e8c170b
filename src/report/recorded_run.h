#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/metrics.h"
#include "report/validation_file.h"

namespace gavel {

/** What a run's folder tells, as docs/files.md has it. Whatever is missing is empty: a run that is under way,
 * or stopped early, or was made by an older version, has one too. */
struct RecordedRun {
  std::filesystem::path folder;
  std::string name;  // the folder's
  std::vector<MetricRow> train, evals;
  ValidationRows validation;
  std::string recipe;              // YAML
  nlohmann::ordered_json info;     // run.json; an object
  std::vector<std::string> notes;  // what could not be read, and why
};

/** Reads a run's folder. Throws Error when there is neither metrics.jsonl nor recipe.yaml: it is no run. */
RecordedRun read_run(const std::filesystem::path& folder);

/** The settings of a recipe's YAML as "section.key" and value, in order; nested values stay as they are
 * written. */
std::vector<std::pair<std::string, std::string>> recipe_settings(const std::string& yaml);

}  // namespace gavel
