#include "serve/reward_forms.h"

#include <algorithm>

#include "base/error.h"
#include "judge/pair_json.h"
#include "serve/form_parts.h"

namespace gavel {

namespace {

/** Prompts and answers in turn, as candidates_of each prompt: neighbours with one prompt share rows. */
Question rewards_of_pairs(const std::vector<std::pair<std::string, std::string>>& pairs, const FormContext& context,
                          AnswerJson (*answer)(const std::vector<double>&)) {
  std::vector<Candidates> all;
  for (const auto& [prompt, response] : pairs) {
    if (all.empty() || all.back().prompt.front() != prompt) all.push_back({"", {prompt}, {}});
    all.back().responses.push_back(response);
  }
  Question question;
  question.rows = rows_within(all, context.most_pairs);
  question.answer = [all = std::move(all), answer](std::span<const Verdict> verdicts) {
    std::vector<double> rewards;
    for (const std::vector<double>& of : candidate_rewards(all, verdicts))
      rewards.insert(rewards.end(), of.begin(), of.end());
    return answer(rewards);
  };
  return question;
}

AnswerJson reward_answer(const std::vector<double>& rewards) {
  return {{"rewards", rewards}, {"scores", rewards}, {"extra_logs", AnswerJson::object()}};
}

/** {"prompt", "response"}: texts, or lists of as many. */
void add_pairs(const nlohmann::json& object, std::vector<std::pair<std::string, std::string>>& pairs) {
  const std::vector<std::string> prompts = texts_of(object, "prompt"), responses = texts_of(object, "response");
  if (prompts.size() != responses.size())
    fail("'prompt' has {} texts and 'response' {}: expected as many", prompts.size(), responses.size());
  for (size_t i = 0; i < prompts.size(); ++i) pairs.emplace_back(prompts[i], responses[i]);
}

}  // namespace

Question read_rerank(std::string_view body, const FormContext& context) {
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
  const bool documents = flag_of(object, "return_documents").value_or(false);
  Question question;
  question.rows = rows_within(one, context.most_pairs);
  question.answer = [one = std::move(one), top_n, documents, model = context.model](std::span<const Verdict> verdicts) {
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

Question read_score(std::string_view body, const FormContext& context) {
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
  question.rows = rows_within(all, context.most_pairs);
  question.answer = [all = std::move(all), model = context.model](std::span<const Verdict> verdicts) {
    AnswerJson data = AnswerJson::array();
    for (const std::vector<double>& rewards : candidate_rewards(all, verdicts))
      for (double reward : rewards) data.push_back({{"index", data.size()}, {"object", "score"}, {"score", reward}});
    return AnswerJson{{"object", "list"}, {"model", model}, {"data", std::move(data)}};
  };
  return question;
}

namespace {

/** What a judge says of answers beside references: how much of a win each is, a tie counting half. */
Question wins_over_references(const nlohmann::json& json, const FormContext& context) {
  Question question;
  auto add = [&](const nlohmann::json& object) {
    if (!object.is_object())
      fail("expected objects with 'prompt', 'response' and 'reference', found {}", object.type_name());
    if (!object.contains("reference"))
      fail("a judge compares two answers: send 'prompt', 'response' and 'reference' (a reward needs no reference)");
    const std::vector<std::string> prompts = texts_of(object, "prompt"), responses = texts_of(object, "response"),
                                   references = texts_of(object, "reference");
    if (prompts.size() != responses.size() || prompts.size() != references.size())
      fail("'prompt' has {} texts, 'response' {} and 'reference' {}: expected as many", prompts.size(),
           responses.size(), references.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      PreferenceRow& row = question.rows.emplace_back();
      row.prompt = {prompts[i]};
      row.response_a = {responses[i]};
      row.response_b = {references[i]};
    }
  };
  if (json.is_array())
    for (const nlohmann::json& item : json) add(item);
  else
    add(json);
  if (question.rows.empty()) fail("the list is empty");
  if (question.rows.size() > context.most_pairs)
    fail("{} answers, at most {} are taken at once", question.rows.size(), context.most_pairs);
  question.answer = [](std::span<const Verdict> verdicts) {
    std::vector<double> rewards;
    for (const Verdict& verdict : verdicts) rewards.push_back(verdict.probabilities[0] + verdict.probabilities[2] / 2);
    return reward_answer(rewards);
  };
  return question;
}

}  // namespace

Question read_get_reward(std::string_view body, const FormContext& context) {
  const nlohmann::json json = parse_shallow(body);
  if (context.kind != JudgeKind::kReward) return wins_over_references(json, context);
  std::vector<std::pair<std::string, std::string>> pairs;
  if (json.is_array()) {
    if (json.empty()) fail("the list is empty");
    for (const nlohmann::json& item : json) {
      if (!item.is_object()) fail("expected objects with 'prompt' and 'response', found {}", item.type_name());
      add_pairs(item, pairs);
    }
    return rewards_of_pairs(pairs, context, reward_answer);
  }
  if (!json.is_object()) fail("expected an object, found {}", json.type_name());
  if (!json.contains("query")) {
    if (!json.contains("prompt")) fail("expected 'query', or 'prompt' and 'response'");
    add_pairs(json, pairs);
    return rewards_of_pairs(pairs, context, reward_answer);
  }
  Question question;
  TextRows texts;
  for (std::string& text : texts_of(json, "query")) texts.add_written_out(std::move(text), context, "query");
  question.rows = texts.rows(context.most_pairs);
  question.answer = [texts = std::move(texts)](std::span<const Verdict> verdicts) {
    std::vector<double> rewards;
    for (size_t i = 0; i < texts.size(); ++i) rewards.push_back(texts.reward(verdicts, i));
    return reward_answer(rewards);
  };
  return question;
}

}  // namespace gavel
