#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "report/recorded_run.h"

namespace gavel {

/** A validation row's texts, cut to a readable length. */
struct RowTexts {
  std::string prompt, response_a, response_b;
};

struct ReportOptions {
  /** Gives the texts of some of a run's validation rows, by their row number in the source file; rows that it can't
   * find are left out. Empty: the report shows row numbers and ids alone. */
  std::function<std::map<int64_t, RowTexts>(const RecordedRun&, const std::vector<int64_t>&)> texts = {};
  /** Gives the subset of each of a run's validation rows; nothing where their file names none. */
  std::function<std::vector<std::string>(const RecordedRun&)> subsets = {};
  /** The page's title; empty: the run's name. */
  std::string title = {};
  /** Markup that comes before all that is said of the runs. */
  std::string first_html = {};
  /** Whether what each judge says, its settings and versions are shown; its own page has them too. */
  bool details = true;
};

/** One self-contained HTML page of one or several runs: no scripts, nothing fetched, all text from data and
 * settings escaped. Follows the reader's light or dark setting; made for screens from 360 pixels. The same
 * records give the same page. */
std::string report_html(const std::vector<RecordedRun>& runs, const ReportOptions& options = {});

}  // namespace gavel
