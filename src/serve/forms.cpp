#include "serve/forms.h"

#include <algorithm>

#include "base/error.h"
#include "judge/pair_json.h"
#include "judge/rank.h"

namespace gavel {

namespace {

using AnswerJson = nlohmann::ordered_json;

Question read_pairs(std::string_view body, size_t most_pairs, const std::string& /*model*/) {
  Question question;
  question.rows = pairs_from_json(body, most_pairs);
  const size_t first = body.find_first_not_of(" \t\r\n");
  const bool is_list = first != std::string::npos && body[first] == '[';
  question.answer = [rows = question.rows, is_list](std::span<const Verdict> verdicts) {
    if (!is_list) return verdict_json(rows[0], verdicts[0]);
    AnswerJson list = AnswerJson::array();
    for (size_t i = 0; i < rows.size(); ++i) list.push_back(verdict_json(rows[i], verdicts[i]));
    return list;
  };
  return question;
}

/** Rewards are asked for as rows of two answers. */
std::vector<PreferenceRow> rows_within(std::span<const Candidates> all, size_t most_pairs) {
  std::vector<PreferenceRow> rows = candidate_rows(all);
  if (rows.size() > most_pairs) fail("at most {} answers are taken at once", 2 * most_pairs);
  return rows;
}

nlohmann::json object_of(std::string_view body) {
  const nlohmann::json object = parse_shallow(body);
  if (!object.is_object()) fail("expected an object, found {}", object.type_name());
  return object;
}

std::string text_of(const nlohmann::json& value, const char* key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("text") && value["text"].is_string()) return value["text"].get<std::string>();
  fail("key '{}': expected a text, found {}", key, value.type_name());
}

/** A text, or a list of texts. */
std::vector<std::string> texts_of(const nlohmann::json& object, const char* key) {
  if (!object.contains(key)) fail("key '{}' is missing", key);
  const nlohmann::json& value = object[key];
  if (!value.is_array()) return {text_of(value, key)};
  if (value.empty()) fail("key '{}' is an empty list", key);
  std::vector<std::string> texts;
  for (const auto& item : value) texts.push_back(text_of(item, key));
  return texts;
}

Question read_rerank(std::string_view body, size_t most_pairs, const std::string& model) {
  const nlohmann::json object = object_of(body);
  std::vector<Candidates> one(1);
  one[0].prompt = texts_of(object, "query");
  if (one[0].prompt.size() != 1) fail("key 'query': expected one text, found {}", one[0].prompt.size());
  one[0].responses = texts_of(object, "documents");
  size_t top_n = one[0].responses.size();
  if (object.contains("top_n") && !object["top_n"].is_null()) {
    if (!object["top_n"].is_number_integer() || object["top_n"].get<int64_t>() < 1)
      fail("key 'top_n': expected a positive whole number");
    top_n = std::min<size_t>(top_n, object["top_n"].get<uint64_t>());
  }
  bool documents = false;
  if (object.contains("return_documents") && !object["return_documents"].is_null()) {
    if (!object["return_documents"].is_boolean()) fail("key 'return_documents': expected true or false");
    documents = object["return_documents"].get<bool>();
  }
  Question question;
  question.rows = rows_within(one, most_pairs);
  question.answer = [one = std::move(one), top_n, documents, model](std::span<const Verdict> verdicts) {
    const std::vector<double> rewards = candidate_rewards(one, verdicts).front();
    AnswerJson results = AnswerJson::array();
    for (size_t index : best_first(rewards)) {
      if (results.size() == top_n) break;
      AnswerJson result = {{"index", index}, {"relevance_score", rewards[index]}};
      if (documents) result["document"] = {{"text", one[0].responses[index]}};
      results.push_back(std::move(result));
    }
    return AnswerJson{{"model", model}, {"results", std::move(results)}};
  };
  return question;
}

Question read_score(std::string_view body, size_t most_pairs, const std::string& model) {
  const nlohmann::json object = object_of(body);
  const std::vector<std::string> prompts = texts_of(object, "text_1"), answers = texts_of(object, "text_2");
  if (prompts.size() != 1 && prompts.size() != answers.size())
    fail("'text_1' has {} texts and 'text_2' {}: expected one prompt, or one for each answer", prompts.size(),
         answers.size());
  std::vector<Candidates> all;
  for (size_t i = 0; i < answers.size(); ++i) {
    // Answers to one prompt share rows.
    if (prompts.size() > 1 || all.empty()) all.push_back({"", {prompts[prompts.size() > 1 ? i : 0]}, {}});
    all.back().responses.push_back(answers[i]);
  }
  Question question;
  question.rows = rows_within(all, most_pairs);
  question.answer = [all = std::move(all), model](std::span<const Verdict> verdicts) {
    AnswerJson data = AnswerJson::array();
    for (const std::vector<double>& rewards : candidate_rewards(all, verdicts))
      for (double reward : rewards) data.push_back({{"index", data.size()}, {"object", "score"}, {"score", reward}});
    return AnswerJson{{"object", "list"}, {"model", model}, {"data", std::move(data)}};
  };
  return question;
}

}  // namespace

std::span<const QuestionForm> question_forms() {
  static const QuestionForm kForms[] = {
      {"/v1/judge", false, read_pairs}, {"/rerank", true, read_rerank},  {"/v1/rerank", true, read_rerank},
      {"/score", true, read_score},     {"/v1/score", true, read_score},
  };
  return kForms;
}

}  // namespace gavel
