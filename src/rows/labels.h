#pragma once
#include <array>
#include <string>
#include <string_view>

#include "rows/row_source.h"

namespace gavel::detail {

/** A number, or true/false; NaN when it is neither. */
double parse_probability(std::string_view text);
/** Sets the label from the probabilities of A, B and a tie, divided by their sum; counts what is odd about them. `spelled` is
 * what the file has, for the list of labels that are not known. */
void set_label(const std::array<double, 3>& label, std::string_view spelled, ParsedRow& out);
/** Sets the row's weight from a cell's text; where that is no weight, ParsedRow::broken. `path` and `column` are for the
 * message. */
void set_weight(const std::string& path, const std::string& column, std::string_view text, ParsedRow& out);
/** "model_a", "A", "tie", "both_bad", … in any case, or a spelling of `more`, as one-hot probabilities; all negative when
 * unknown. */
std::array<double, 3> winner_label(std::string_view winner, const Spellings& more);
/** A label as messages have it: cut, valid UTF-8, "(empty)" when there is none. */
std::string shown_label(std::string_view spelled);

}  // namespace gavel::detail
