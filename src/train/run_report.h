#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "report/html_report.h"

namespace gavel {

/** The page of one or several runs, with the texts of the rows it lists found in the runs' own data files
 * (where these are still there and unchanged in length; else it shows ids alone). */
std::string run_report(const std::vector<std::filesystem::path>& folders);

/** Keeps report.html of a run that is under way up to date. A page can cost some hundred milliseconds, which
 * training must not wait for: it is made every minute at most, and takes at most a fiftieth of the time. What
 * goes wrong with it is handed to `warn`, and never ends a run. */
class ReportWriter {
 public:
  ReportWriter(std::filesystem::path folder, std::function<void(const std::string&)> warn);
  /** Writes the page if it is due. */
  void refresh();
  /** Writes it in any case (an evaluation, the end). */
  void write();

 private:
  std::filesystem::path folder_;
  std::function<void(const std::string&)> warn_;
  std::chrono::steady_clock::time_point due_;
};

}  // namespace gavel
