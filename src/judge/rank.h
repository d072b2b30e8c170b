#pragma once
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
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
/** The same of a line that is parsed. */
Candidates candidates_of(const nlohmann::json& object, int64_t number);

/** A line of JSONL, parsed within limits. Throws Error naming the line. */
nlohmann::json parse_line(std::string_view line, int64_t number);

/** Calls `take` with each line of a file that is not blank, and its number from 1. Throws Error naming the file when it has no
 * such line, or `take` throws one. */
void each_line(const std::filesystem::path& path, const std::function<void(std::string_view, int64_t)>& take);

/** Rows of two answers each, an odd one out standing on both sides, whose rewards are those of all candidates. */
std::vector<PreferenceRow> candidate_rows(std::span<const Candidates> all);
/** The rewards of all candidates, of the verdicts on candidate_rows(). */
std::vector<std::vector<double>> candidate_rewards(std::span<const Candidates> all, std::span<const Verdict> verdicts);
/** Indices, the largest reward first. */
std::vector<size_t> best_first(std::span<const double> rewards);

/** The reward of each answer, in their order, for each of `all`. Throws Error when the judge's task is not reward. */
std::vector<std::vector<double>> rewards_of(Judge& judge, std::span<const Candidates> all);

/** {"id", "rewards": [of each answer], "order": [indices of the answers, best first], "best": the best answer's text}. */
nlohmann::ordered_json ranking_json(const Candidates& candidates, const std::vector<double>& rewards);

}  // namespace gavel
