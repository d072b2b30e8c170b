#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "train/run_state.h"

namespace gavel {

/** "2026-01-31T12:00:00Z", now. */
std::string utc_now();

/** run.json: what ran, for people, reports and other programs (docs/files.md). */
class RunRecord {
 public:
  /** `about`: all that does not change while the run runs. A resumed run keeps what an earlier one wrote of
   * its start and its resumes. Nothing is written yet. */
  RunRecord(std::filesystem::path path, nlohmann::ordered_json about);

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
