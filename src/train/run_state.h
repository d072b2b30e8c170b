#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "recipe/recipe.h"

namespace gavel {

/** An exponential mean (weight 0.05 for the newest value), corrected for its start as Adam's moments are. */
struct SmoothedLoss {
  double sum = 0;
  double weight = 0;
  void add(double loss);
  /** NaN before the first value. */
  double value() const;
  bool operator==(const SmoothedLoss&) const = default;
};

struct BestEvaluation {
  int64_t step = 0;
  double log_loss = 0;
  double accuracy = 0;
  bool operator==(const BestEvaluation&) const = default;
};

/** What a resumed run needs besides tensors: all that does not follow from recipe, data and step number. */
struct RunState {
  int64_t step = 0;  // optimizer steps done
  // Sums over all steps that were applied, from which means since the start are made.
  double loss_sum = 0;
  double correct_sum = 0;
  int64_t rows = 0;
  double weight = 0;  // of the rows
  int64_t tokens = 0;
  int64_t real_tokens = 0;
  SmoothedLoss smoothed;
  double elapsed_seconds = 0;  // of steps alone
  int64_t skipped_steps = 0;
  int64_t skipped_in_a_row = 0;
  /** The last step that was evaluated; -1: none. */
  int64_t evaluated_step = -1;
  std::optional<BestEvaluation> best;
  int64_t evaluations_without_gain = 0;
  bool operator==(const RunState&) const = default;

  /** Means over the rows so far by their weights; 0 before the first step. */
  double mean_loss() const { return weight > 0 ? loss_sum / weight : 0; }
  double accuracy() const { return weight > 0 ? correct_sum / weight : 0; }
};

nlohmann::ordered_json to_json(const RunState& state);
/** Throws nlohmann::json::exception when something is missing or of another type, and Error that names `place`, the number and
 * what it may be when one can't be of a run that did the steps that the state says it did. */
RunState run_state_from_json(const nlohmann::ordered_json& json, std::string_view place);

/** Throws Error as above when the numbers can't be of a run with this recipe, which has so many steps. */
void check_state(const RunState& state, const Recipe& recipe, int64_t total_steps, std::string_view place);

}  // namespace gavel
