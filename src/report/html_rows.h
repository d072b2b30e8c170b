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
/** Precision, recall, F1 and log loss of each label. */
std::string class_table(const Scores& scores);
/** Rows, log loss and accuracy of each group. */
std::string group_table(const std::vector<GroupScore>& groups);

/** Of calibration.json: what each calibration in it is and what it adds, in sample and on rows held out, beside the
 * baselines; "" where it tells nothing of that. */
std::string calibration_cards(const nlohmann::ordered_json& calibration);

/** Rows with their probabilities; a row whose texts are known can be unfolded to read them. `ties`: a tie is an outcome. */
std::string row_list(const std::vector<JudgedRow>& rows, const std::map<int64_t, RowTexts>& texts, bool ties);

/** Of rows with rewards: how these are distributed, over preferred answers and the others, and how far they lie apart; and
 * what `tie_logit`, which was learnt, means. "" when no row has rewards. */
std::string reward_cards(const std::vector<JudgedRow>& rows, const std::optional<double>& tie_logit);

}  // namespace gavel::html
