#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "compare/chat_judge.h"
#include "figures/agreement.h"
#include "judge/judge.h"

namespace gavel {

/** What a judge said of pairs, and what that took. */
struct JudgedPairs {
  std::string name;
  std::vector<Opinion> opinions;
  double seconds = 0;
  /** Tokens that were read, and written, both orders together; of a service as it counts them. */
  int64_t prompt_tokens = 0, completion_tokens = 0;
  /** Of a service: requests, those that were sent more than once, those without an answer after all retries, those whose answer was no
   * verdict; and how long each that was answered took, in seconds, rising. */
  int64_t requests = 0, retried = 0, failed = 0, unreadable = 0;
  std::vector<double> latencies;
};

/** Called with how many of the pairs are judged. */
using PairsDone = std::function<void(int64_t)>;

/** `both_orders`: each pair is also judged with A and B exchanged (of a reward that says nothing new, and is not done). The verdict of
 * a judge is that of its mean probabilities; of a chat model what it says in both orders, a tie where that differs, and nothing where
 * one of the replies can't be read. The chat model throws as ask_chat() does. */
JudgedPairs judge_pairs(Judge& judge, std::span<const PreferenceRow> rows, bool both_orders,
                        const PairsDone& done = {});
JudgedPairs judge_pairs(const ChatJudge& judge, std::span<const PreferenceRow> rows, bool both_orders,
                        const PairsDone& done = {});

/** Two judges on the same pairs, for the terminal and as JSON. `votes`: of each pair. */
std::string format_comparison(const JudgedPairs& first, const JudgedPairs& second, std::span<const Votes> votes);
nlohmann::ordered_json comparison_json(const JudgedPairs& first, const JudgedPairs& second,
                                       std::span<const Votes> votes);
/** A line of JSON for each pair: its id and what both said of it. */
std::string opinions_jsonl(const JudgedPairs& first, const JudgedPairs& second, std::span<const PreferenceRow> rows);

}  // namespace gavel
