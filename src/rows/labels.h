#pragma once
#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "rows/row_source.h"

namespace gavel::detail {

/** A number, or true/false; NaN when it is neither. */
double parse_probability(std::string_view text);
/** Sets the label from the probabilities of A, B and a tie, divided by their sum; counts what is odd about them. `spelled` is
 * what the file has, for the list of labels that are not known. */
void set_label(const std::array<double, 3>& label, std::string_view spelled, ParsedRow& out);
/** Sets the row's weight, margin, score, teacher and auxiliary texts from its cells' texts (`cell` gives a Column's), as far as
 * they are asked for; ParsedRow::broken where one is no such number. `path` is for the message. */
void set_numbers(const std::string& path, const ColumnNames& names, const ReadOptions& options,
                 const std::function<std::string(Column)>& cell, ParsedRow& out);
/** Sets the label of a pair from its answers' scores, and its margin where that is asked for. */
void set_label_of_scores(double a, double b, const ReadOptions& options, ParsedRow& out);
/** "model_a", "A", "tie", "both_bad", … in any case, or a spelling of `more`, as one-hot probabilities; all negative when
 * unknown. */
std::array<double, 3> winner_label(std::string_view winner, const Spellings& more);
/** A label as messages have it: cut, valid UTF-8, "(empty)" when there is none. */
std::string shown_label(std::string_view spelled);

}  // namespace gavel::detail
