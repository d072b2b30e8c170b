#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "report/html_report.h"

namespace gavel {

/** The HTML report of one or several runs. The texts of the rows it lists are looked up in the runs' data files; where
 * a file is gone or has more than 512 MiB, it shows row numbers and ids alone. */
std::string run_report(const std::vector<std::filesystem::path>& folders, ReportOptions options = {});

/** Keeps report.html of a run that is under way up to date. Training waits while a page is made, which can take
 * seconds, so refresh() makes one at most every minute and at most a fiftieth of the time. Failures go to `warn` and
 * never end a run. */
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
