#pragma once
#include <map>
#include <string>
#include <vector>

#include "report/html_report.h"
#include "report/scores.h"

namespace gavel::html {

// What a report shows of validation rows.

/** Labels against verdicts, shaded by each label's shares. */
std::string confusion_table(const Scores& scores);
std::string class_table(const Scores& scores);
std::string group_table(const std::vector<GroupScore>& groups);

/** Rows with their probabilities; those whose texts are known unfold. */
std::string row_list(const std::vector<JudgedRow>& rows, const std::map<int64_t, RowTexts>& texts);

}  // namespace gavel::html
