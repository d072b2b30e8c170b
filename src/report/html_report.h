#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "report/recorded_run.h"

namespace gavel {

/** What a validation row is about, cut to a readable length. */
struct RowTexts {
  std::string prompt, response_a, response_b;
};

struct ReportOptions {
  /** Finds the texts of some validation rows of a run by their row in the source file; those not found are
   * left out. Empty: the report shows ids alone. */
  std::function<std::map<int64_t, RowTexts>(const RecordedRun&, const std::vector<int64_t>&)> texts;
};

/** One self-contained HTML page of one or several runs: no scripts, nothing fetched, all text from data and
 * settings escaped. Follows the reader's light or dark setting; made for screens from 360 pixels. The same
 * records give the same page. */
std::string report_html(const std::vector<RecordedRun>& runs, const ReportOptions& options = {});

}  // namespace gavel
