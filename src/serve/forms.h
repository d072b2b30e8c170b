#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "judge/judge.h"

namespace gavel {

/** What a request asks: the rows to judge, and its answer once they are. */
struct Question {
  std::vector<PreferenceRow> rows;
  std::function<nlohmann::ordered_json(std::span<const Verdict>)> answer;
};

/** How the bodies of one path are read. */
struct QuestionForm {
  std::string path;
  /** Whether the judge's task must be reward. */
  bool needs_rewards = false;
  /** Throws Error saying what is wrong with the body; `most_pairs`: rows that one request may have. */
  Question (*read)(std::string_view body, size_t most_pairs, const std::string& model);
};

/** The paths of the service:
 * - `/v1/judge`: a pair, or a list of pairs, as pairs_from_json() takes them; answers as verdict_json() gives them;
 * - `/rerank`, `/v1/rerank`, as Jina's and Cohere's clients send them: {"query", "documents": [text or {"text"}], "top_n",
 *   "return_documents"} → {"model", "results": [{"index", "relevance_score", "document"}]}, the best reward first;
 * - `/score`, `/v1/score`, as vLLM has it: {"text_1": text or texts, "text_2": text or texts}, prompts and answers →
 *   {"model", "data": [{"index", "score"}]}. */
std::span<const QuestionForm> question_forms();

}  // namespace gavel
