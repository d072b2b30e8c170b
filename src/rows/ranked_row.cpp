#include "rows/ranked_row.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "rows/labels.h"
#include "rows/messages.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

constexpr size_t kMostAnswers = 32;  // 496 pairs, each with texts of its own in memory

/** Answers to one prompt, each with its conversation's earlier answers, and their scores. */
struct RankedAnswers {
  Turns prompt;
  std::vector<Turns> answers;
  std::vector<double> scores;
};

/** NaN where there is no number. */
double number_of_element(dom::element value) {
  double number = std::numeric_limits<double>::quiet_NaN();
  std::string_view text;
  if (value.get(number) == simdjson::SUCCESS) return number;
  return value.get(text) == simdjson::SUCCESS ? detail::parse_probability(text)
                                              : std::numeric_limits<double>::quiet_NaN();
}

/** UltraFeedback's completion: {"response": …, "overall_score": …}; older files have only "fine-grained_score". */
std::string take_completion(dom::element item, dom::element& answer, double& score) {
  dom::object completion;
  if (item.get(completion) != simdjson::SUCCESS || !find_key(completion, "response", answer))
    return "expected objects with 'response' and 'overall_score'";
  dom::element value;
  for (const char* key : {"overall_score", "fine-grained_score"})
    if (find_key(completion, key, value)) {
      score = number_of_element(value);
      break;
    }
  return "";
}

std::string take_answers(dom::object object, const detail::ColumnNames& names, bool has_labels, RankedAnswers& out) {
  const std::string &prompt_key = names[static_cast<size_t>(Column::kPrompt)],
                    &answers_key = names[static_cast<size_t>(Column::kResponseA)],
                    &scores_key = names[static_cast<size_t>(Column::kWinner)];
  dom::element value;
  Turns earlier;
  if (find_key(object, prompt_key, value))
    if (std::string why = take_prompt(value, prompt_key, out.prompt, earlier); !why.empty()) return why;
  dom::array answers;
  if (!find_key(object, answers_key, value) || value.get(answers) != simdjson::SUCCESS)
    return fmt::format("key '{}': expected a list of answers", answers_key);
  for (dom::element item : answers) {
    double score = std::numeric_limits<double>::quiet_NaN();
    dom::element answer = item;
    if (scores_key == answers_key)
      if (std::string why = take_completion(item, answer, score); !why.empty())
        return fmt::format("key '{}': {}", answers_key, why);
    Turns& turns = out.answers.emplace_back();
    turns.texts = earlier.texts;
    Turns prompt;
    if (std::string why = take_answer(answer, answers_key, prompt, turns); !why.empty()) return why;
    if (!prompt.texts.empty()) {
      if (out.answers.size() > 1 && prompt.texts != out.prompt.texts)
        return fmt::format("key '{}': conversations with different messages of the user", answers_key);
      out.prompt.texts = std::move(prompt.texts);
    }
    out.scores.push_back(score);
  }
  if (out.prompt.texts.empty()) out.prompt.texts.emplace_back();
  const size_t count = out.answers.size();
  if (count < 2 || count > kMostAnswers)
    return fmt::format("key '{}': expected 2 to {} answers, found {}", answers_key, kMostAnswers, count);
  if (!has_labels || scores_key == answers_key) return "";
  dom::array scores;
  if (!find_key(object, scores_key, value) || value.get(scores) != simdjson::SUCCESS || scores.size() != count)
    return fmt::format("key '{}': expected a list of {} numbers, one for each answer", scores_key, count);
  size_t i = 0;
  for (dom::element item : scores) {
    const double number = number_of_element(item);
    out.scores[i++] = scores_key == "ranks" ? -number : number;
  }
  return "";
}

}  // namespace

void take_ranked(dom::object object, const detail::ColumnNames& names, const ReadOptions& options, bool has_labels,
                 ParsedRow& out) {
  RankedAnswers ranked;
  out.not_json = take_answers(object, names, has_labels, ranked);
  if (!out.not_json.empty()) {
    ++out.occurrences[static_cast<size_t>(Oddity::kNotJson)];
    return;
  }
  const size_t count = ranked.answers.size();
  const std::string id = out.row.id;
  // A tiny share is not to become 0, which is no weight.
  const auto pairs = static_cast<float>(count * (count - 1) / 2);
  const float weight = std::max(out.row.weight / pairs, std::numeric_limits<float>::min()), margin = out.row.margin;
  const bool zero = out.occurrences[static_cast<size_t>(Oddity::kZeroWeight)] > 0;
  bool first = true;
  for (size_t i = 0; i < count; ++i)
    for (size_t j = i + 1; j < count; ++j) {
      ParsedRow& pair = first ? out : out.more.emplace_back();
      pair.row.id = fmt::format("{}:{}:{}", id, i + 1, j + 1);
      pair.row.source_row = out.row.source_row;
      pair.row.weight = weight;
      pair.row.margin = margin;
      if (zero && !first) ++pair.occurrences[static_cast<size_t>(Oddity::kZeroWeight)];
      first = false;
      detail::take_texts(ranked.prompt, ranked.answers[i], ranked.answers[j], pair);
      if (has_labels) detail::set_label_of_scores(ranked.scores[i], ranked.scores[j], options, pair);
    }
}

}  // namespace gavel
