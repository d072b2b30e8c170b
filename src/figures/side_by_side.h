#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "report/scores.h"

namespace gavel {

/** A mean and its standard error (from the spread of the rows; NaN for less than two). */
struct MeanWithError {
  double mean = 0, error = 0;
};

/** What two judges (or rewards) said of the same rows. */
struct SideBySide {
  /** Rows compared, and those left out: that one of the two did not judge, or are ties where `ties` is false. */
  int64_t rows = 0, left_out = 0;
  /** Whether ties are an outcome. Where one of the two has none, rows that are ties are left out, and the probabilities of
   * both are those of A and B divided by their sum. */
  bool ties = true;
  std::array<double, 2> log_loss{}, accuracy{};
  /** Mean over the rows of the first's less the second's. */
  MeanWithError log_loss_difference, accuracy_difference;
  /** Share of the rows with the same verdict. */
  double agreement = 0;
};

/** Rows are the same where JudgedRow::row is. `ties`: both have ties as an outcome. Throws Error when no row is left. */
SideBySide compare_rows(std::span<const JudgedRow> first, std::span<const JudgedRow> second, bool ties);

/** `names`: of the two. */
std::string format_side_by_side(const SideBySide& found, const std::array<std::string, 2>& names);
nlohmann::ordered_json side_by_side_json(const SideBySide& found, const std::string& other);

}  // namespace gavel
