#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/validation_file.h"

namespace gavel {

/** How much larger the log loss of one setting is than that of another on the same validation rows. */
struct SettingDifference {
  /** Mean over all pairs of a row and a seed. */
  double mean = 0;
  /** Of that mean, over the rows: differences of one row under several seeds count as one cluster. It says how far other
   * rows would move the mean, with these trained weights. */
  double standard_error = 0;
  /** Of the mean over the seeds: the standard deviation of the seeds' own means over the root of their number. It says how
   * far other seeds would move it. NaN with one seed. */
  double seed_standard_error = 0;
  int64_t rows = 0;  // different ones
};

/** `ours` and `theirs`: the validation rows of each seed's run, in the same order of seeds. nullopt where the runs of a seed
 * have other rows or labels, so that nothing is paired. */
std::optional<SettingDifference> difference_of_settings(std::span<const ValidationRows> ours,
                                                        std::span<const ValidationRows> theirs);

/** One line of a sweep's table. */
struct SettingResult {
  std::string name;
  std::vector<std::string> values;  // of the swept keys
  /** "finished"; "stopped at step N" by halving; "failed"; "to do". */
  std::string status;
  int64_t seeds = 0;  // with results
  int64_t step = 0;   // that the figures are of; 0: there are none
  /** Means over the seeds, and the standard deviation of the log loss over them (NaN with one). */
  double log_loss = 0, log_loss_deviation = 0, accuracy = 0;
  /** Against the reference, at the latest step up to which both came. */
  std::optional<SettingDifference> difference;
  int64_t compared_at = 0;
  bool is_reference = false;
};

struct SweepResults {
  std::vector<std::string> keys;
  std::vector<SettingResult> settings;  // in the order that is shown: finished by log loss, then the others
  std::string reference;                // its name
};

/** A table, and a sentence on what it shows. */
std::string to_text(const SweepResults& results);
std::string to_csv(const SweepResults& results);
std::string to_json(const SweepResults& results);
std::string to_html(const SweepResults& results);

}  // namespace gavel
