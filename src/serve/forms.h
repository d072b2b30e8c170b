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

/** What a judge reads, and so what can be asked of it. */
enum class JudgeKind : uint8_t {
  kPair,    // a prompt and two answers
  kReward,  // a text with one answer (task: reward)
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
  JudgeKind kind = JudgeKind::kReward;
  /** Names of a judge's outcomes, in their order, for answers that list classes; a reward's one is LABEL_0. */
  std::vector<std::string> labels;
  /** Why texts that are written out are not read, and what to send; "": they are. */
  std::string no_written_out;
};

/** How errors are written. */
enum class ErrorForm : uint8_t {
  kText,    // {"error": why}
  kServer,  // {"error": {"message": why, "type", "param", "code"}}, as vLLM and OpenAI's service have it
  kTyped,   // {"error": why, "error_type"}, as text-embeddings-inference has it
};

}  // namespace gavel
