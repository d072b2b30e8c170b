#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "train/run_state.h"

namespace gavel {

/** The time now, as "2026-01-31T12:00:00Z". */
std::string utc_now();

/** run.json: what ran, for people, reports and other programs (docs/files.md). */
class RunRecord {
 public:
  /** `about`: all that does not change while the run runs. When the file is there already, its start and its list of
   * resumes are kept. Writes nothing yet. */
  RunRecord(std::filesystem::path path, nlohmann::ordered_json about);

  /** Notes that the run goes on from `step` now. */
  void add_resume(int64_t step);
  /** Replaces the file. Throws Error when it can't. */
  void write(const std::string& status, const RunState& state, const std::string& message = "");

 private:
  std::filesystem::path path_;
  nlohmann::ordered_json about_;
  std::string started_;
  nlohmann::ordered_json resumes_ = nlohmann::ordered_json::array();
};

}  // namespace gavel
