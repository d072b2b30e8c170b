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

/** What the forms need to know of the request beside its body. */
struct FormContext {
  /** Rows that one request may have. */
  size_t most_pairs = 1;
  /** The model's name in answers. */
  std::string model;
  /** Tells the request from others, and when it came (seconds since 1970). */
  std::string request;
  int64_t created = 0;
};

/** How errors are written. */
enum class ErrorForm : uint8_t {
  kText,    // {"error": why}
  kServer,  // {"error": {"message": why, "type", "param", "code"}}, as vLLM and OpenAI's service have it
};

/** How the bodies of one path are read. */
struct QuestionForm {
  std::string path;
  /** Whether the judge's task must be reward. */
  bool needs_rewards = false;
  ErrorForm errors = ErrorForm::kText;
  /** Throws Error saying what is wrong with the body. */
  Question (*read)(std::string_view body, const FormContext& context);
};

/** The paths of the service:
 * - `/v1/judge`: a pair, or a list of pairs, as pairs_from_json() takes them; answers as verdict_json() gives them.
 *
 * Of a reward:
 * - `/rerank`, `/v1/rerank`, as Jina's and Cohere's clients send them: {"query", "documents": [text or {"text"}], "top_n",
 *   "return_documents"} → {"model", "results": [{"index", "relevance_score", "document"}]}, the best reward first;
 * - `/score`, `/v1/score`, as vLLM has it: {"text_1": text or texts, "text_2": text or texts}, prompts and answers →
 *   {"model", "data": [{"index", "score"}]};
 * - `/classify`, `/v1/classify`, as vLLM and SGLang have it for a model of one class, and `/pooling`, vLLM's: {"messages"},
 *   a conversation whose last message is the assistant's, or {"input": text or texts}, conversations that are written out →
 *   {"data": [{"index", "label", "probs", "num_classes"}], "usage"} and {"data": [{"index", "data": [reward]}], "usage"}.
 *   A class's "probability" is the reward's sigmoid, and the reward itself with "use_activation": false; /pooling gives the
 *   reward, and its sigmoid with "use_activation": true;
 * - `/get_reward`, OpenRLHF's remote reward: {"query": [conversations that are written out], "prompts", "labels"} (the last
 *   two are not read), or {"prompt", "response"}, texts or lists of as many, or a list of such objects → {"rewards",
 *   "scores", "extra_logs"}. */
std::span<const QuestionForm> question_forms();

}  // namespace gavel
