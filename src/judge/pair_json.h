#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "judge/judge.h"
#include "rows/preferences.h"

namespace gavel {

/** A text of JSON that is nested no deeper than what is asked here can be; lone surrogates become U+FFFD, and
 * integers beyond 64 bits texts. Throws Error. */
nlohmann::json parse_shallow(std::string_view text);

/** Pairs to judge from JSON: one object {"prompt", "response_a", "response_b"}, each a text or a list of
 * turns (null turns are empty), with an optional "id" (text or number); or a list of such objects. Other keys
 * are refused when near to these, else ignored; lone surrogates become U+FFFD. Throws Error saying what is
 * wrong, and with which pair; also for an empty list or more than `most_pairs`. */
std::vector<PreferenceRow> pairs_from_json(std::string_view text, size_t most_pairs);

/** {"id", "verdict": "A" | "B" | "tie", "probabilities": {"A", "B", "tie"}, "tokens", "truncated", of a reward
 * "rewards": {"A", "B"},
 * and with swap averaging "agrees": whether both orders led to the same outcome}. */
nlohmann::ordered_json verdict_json(const PreferenceRow& row, const Verdict& verdict);

}  // namespace gavel
