#include "train/run_state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.h"

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

constexpr double kAnyNumber = std::numeric_limits<double>::max();

/** Checks the numbers of one state. */
class Checker {
 public:
  explicit Checker(std::string_view place) : place_(place) {}
  /** `least` and `most` belong to it. A number that is not finite never does. */
  template <class Number>
  void within(const char* name, Number value, double least, double most, const char* why = "") const {
    if (static_cast<double>(value) >= least && static_cast<double>(value) <= most) return;
    const bool open = most == kAnyNumber;
    fail(
        "{}: '{}' is {}, expected a number {} {}{}{}: the file is damaged; remove the checkpoint's folder to go on "
        "from the one "
        "before it",
        place_, name, value, open ? "of at least" : "from", least, open ? "" : fmt::format(" to {}", most), why);
  }

 private:
  std::string_view place_;
};

/** Unlike the library, which makes a whole number of 2.5 and a number of true. */
template <class Number>
void take(const nlohmann::ordered_json& json, Number& value, const char* name, std::string_view place) {
  const bool right = std::is_integral_v<Number> ? json.is_number_integer() : json.is_number();
  if (!right)
    fail("{}: '{}' is {}, expected {}", place, name, json.dump(),
         std::is_integral_v<Number> ? "a whole number" : "a number");
  value = json.get<Number>();
}

void check_by_itself(const RunState& s, std::string_view place) {
  const Checker check(place);
  const auto step = static_cast<double>(s.step);
  check.within("step", s.step, 0, 1e15);
  check.within("loss_sum", s.loss_sum, -kAnyNumber, kAnyNumber);
  check.within("correct_sum", s.correct_sum, -kAnyNumber, kAnyNumber);
  check.within("rows", s.rows, 0, kAnyNumber);
  check.within("weight", s.weight, 0, kAnyNumber);
  check.within("tokens", s.tokens, 0, kAnyNumber);
  check.within("real_tokens", s.real_tokens, 0, static_cast<double>(s.tokens), " (tokens)");
  check.within("smoothed_sum", s.smoothed.sum, -kAnyNumber, kAnyNumber);
  check.within("smoothed_weight", s.smoothed.weight, 0, 1);
  check.within("elapsed_seconds", s.elapsed_seconds, 0, kAnyNumber);
  check.within("skipped_steps", s.skipped_steps, 0, step, " (step)");
  check.within("skipped_in_a_row", s.skipped_in_a_row, 0, static_cast<double>(s.skipped_steps), " (skipped_steps)");
  check.within("evaluated_step", s.evaluated_step, -1, step, " (step)");
  check.within("evaluations_without_gain", s.evaluations_without_gain, 0, step + 1, " (step, and the start)");
  if (!s.best) return;
  check.within("best.step", s.best->step, 0, step, " (step)");
  check.within("best.log_loss", s.best->log_loss, -kAnyNumber, kAnyNumber);
  check.within("best.accuracy", s.best->accuracy, 0, 1);
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

RunState run_state_from_json(const nlohmann::ordered_json& json, std::string_view place) {
  RunState state;
  for_each_number(state, [&](const char* name, auto& value) { take(json.at(name), value, name, place); });
  // Checkpoints of versions without weights lack it.
  state.weight = static_cast<double>(state.rows);
  if (json.contains("weight")) take(json["weight"], state.weight, "weight", place);
  if (json.contains("best")) {
    const auto& best = json["best"];
    state.best.emplace();
    take(best.at("step"), state.best->step, "best.step", place);
    take(best.at("log_loss"), state.best->log_loss, "best.log_loss", place);
    take(best.at("accuracy"), state.best->accuracy, "best.accuracy", place);
  }
  check_by_itself(state, place);
  return state;
}

void check_state(const RunState& state, const Recipe& recipe, int64_t total_steps, std::string_view place) {
  const Checker check(place);
  check.within("step", state.step, 0, static_cast<double>(total_steps), " (the run's steps)");
  // Not more than the longest texts, several for each row, padded to the longest that there can be.
  constexpr double kTextsOfARow = 4;
  const double rows_of_a_step =
      static_cast<double>(recipe.train.batch_size) * static_cast<double>(recipe.train.gradient_accumulation);
  const double longest = static_cast<double>(std::max(recipe.data.max_length, recipe.data.pad_to)) + 4096;
  const double tokens = static_cast<double>(state.step) * rows_of_a_step * kTextsOfARow * longest;
  check.within("tokens", state.tokens, 0, tokens, " (steps of such batches)");
  check.within("rows", state.rows, 0, static_cast<double>(state.tokens), " (a token each)");
}

}  // namespace gavel
