#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "report/html_report.h"

namespace gavel {

/** The page of one or several runs, with the texts of the rows it lists found in the runs' own data files
 * (where these are still there and unchanged in length; else it shows ids alone). */
std::string run_report(const std::vector<std::filesystem::path>& folders);

}  // namespace gavel
