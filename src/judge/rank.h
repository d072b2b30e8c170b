#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "judge/judge.h"

namespace gavel {

/** Answers to one prompt that are to be put in order. */
struct Candidates {
  std::string id;
  std::vector<std::string> prompt;     // turns
  std::vector<std::string> responses;  // at least one
};

/** One line of a JSONL file: {"prompt": a text or a list of turns, "responses": [texts], "id" (optional)}. `number`: of the
 * line, for messages and as the id of a line without one. Throws Error saying what is wrong. */
Candidates candidates_of(std::string_view line, int64_t number);

/** The reward of each answer, in their order, for each of `all`. Throws Error when the judge's task is not reward. */
std::vector<std::vector<double>> rewards_of(Judge& judge, std::span<const Candidates> all);

/** {"id", "rewards": [of each answer], "order": [indices of the answers, best first], "best": the best answer's text}. */
nlohmann::ordered_json ranking_json(const Candidates& candidates, const std::vector<double>& rewards);

}  // namespace gavel
