#include "train/run_state.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace gavel {

namespace {

constexpr double kNewest = 0.05;  // weight of the newest loss

/** Calls visit(name, value) for each plain number, so that reading and writing can't differ. */
template <class State, class Visit>
void for_each_number(State& s, Visit visit) {
  visit("step", s.step);
  visit("loss_sum", s.loss_sum);
  visit("correct_sum", s.correct_sum);
  visit("rows", s.rows);
  visit("tokens", s.tokens);
  visit("real_tokens", s.real_tokens);
  visit("smoothed_sum", s.smoothed.sum);
  visit("smoothed_weight", s.smoothed.weight);
  visit("elapsed_seconds", s.elapsed_seconds);
  visit("skipped_steps", s.skipped_steps);
  visit("skipped_in_a_row", s.skipped_in_a_row);
  visit("evaluated_step", s.evaluated_step);
  visit("evaluations_without_gain", s.evaluations_without_gain);
}

}  // namespace

void SmoothedLoss::add(double loss) {
  sum += kNewest * (loss - sum);
  weight += kNewest * (1 - weight);
}

double SmoothedLoss::value() const {
  return weight > 0 ? sum / weight : std::numeric_limits<double>::quiet_NaN();
}

nlohmann::ordered_json to_json(const RunState& state) {
  nlohmann::ordered_json json;
  for_each_number(state, [&](const char* name, const auto& value) { json[name] = value; });
  json["weight"] = state.weight;
  if (state.best)
    json["best"] = {{"step", state.best->step}, {"log_loss", state.best->log_loss}, {"accuracy", state.best->accuracy}};
  return json;
}

RunState run_state_from_json(const nlohmann::ordered_json& json) {
  RunState state;
  for_each_number(state, [&](const char* name, auto& value) { json.at(name).get_to(value); });
  // Checkpoints of versions without weights lack it.
  state.weight = json.value("weight", static_cast<double>(state.rows));
  if (json.contains("best")) {
    const auto& best = json["best"];
    state.best = BestEvaluation{best.at("step").get<int64_t>(), best.at("log_loss").get<double>(),
                                best.at("accuracy").get<double>()};
  }
  return state;
}

}  // namespace gavel
