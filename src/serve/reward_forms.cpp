#include "serve/reward_forms.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "judge/pair_json.h"
#include "serve/form_parts.h"

namespace gavel {

namespace {

/** Conversations with their answers, as rows of two; where each one's reward stands in the verdicts on them. */
struct SingleTexts {
  std::vector<PreferenceRow> rows;
  struct Place {
    size_t row, side;
  };
  std::vector<Place> places;

  double reward(std::span<const Verdict> verdicts, size_t text) const {
    return verdicts[places[text].row].rewards.value()[places[text].side];
  }
  int64_t tokens(std::span<const Verdict> verdicts) const {
    int64_t sum = 0;
    for (const Place& place : places)
      sum += place.side == 0 ? verdicts[place.row].length : verdicts[place.row].length_b;
    return sum;
  }
};

/** Conversations that are written out stand two in a row, an odd one on both sides. */
SingleTexts written_out(const std::vector<std::string>& texts, size_t most_pairs, const char* key) {
  if ((texts.size() + 1) / 2 > most_pairs) fail("at most {} texts are taken at once", 2 * most_pairs);
  SingleTexts out;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) fail("key '{}': a text is empty", key);
    if (i % 2 == 0) {
      PreferenceRow& row = out.rows.emplace_back();
      row.written_out = true;
      row.response_a = row.response_b = {texts[i]};
    } else {
      out.rows.back().response_b = {texts[i]};
    }
    out.places.push_back({i / 2, i % 2});
  }
  return out;
}

/** A message's content: a text, or parts that are texts. */
std::string content_of(const nlohmann::json& message, size_t number) {
  const auto content = message.find("content");
  if (content == message.end()) fail("key 'messages': message {} has no 'content'", number);
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  if (!content->is_array()) fail("key 'messages': message {} has a content that is no text", number);
  for (const auto& part : *content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string())
      fail("key 'messages': message {} has a part that is no text", number);
    text += part["text"].get<std::string>();
  }
  return text;
}

/** As in files of conversations: a system's text stands before the first of the user. */
SingleTexts conversation_of(const nlohmann::json& messages) {
  if (!messages.is_array() || messages.empty()) fail("key 'messages': expected a list of messages");
  PreferenceRow row;
  std::string system, last;
  for (size_t i = 0; i < messages.size(); ++i) {
    const nlohmann::json& message = messages[i];
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      fail("key 'messages': message {} is no object with 'role' and 'content'", i + 1);
    const std::string role = message["role"].get<std::string>();
    std::string content = content_of(message, i + 1);
    if (role == last) fail("key 'messages': two messages of '{}' follow each other", role);
    if (role == "assistant") {
      if (row.prompt.empty()) row.prompt.emplace_back();
      row.response_a.push_back(std::move(content));
    } else if (role == "user") {
      row.prompt.push_back(system.empty() ? std::move(content) : system + "\n\n" + content);
      system.clear();
    } else if (role == "system" && last.empty()) {
      system = std::move(content);
    } else {
      fail(
          "key 'messages': message {} is of '{}': expected the user's and the assistant's in turn, after at most one "
          "of "
          "the system",
          i + 1, role);
    }
    last = role;
  }
  if (last != "assistant") fail("key 'messages': the last message must be the assistant's, whose answer is rewarded");
  row.response_b = row.response_a;
  return {{row}, {{0, 0}}};
}

/** What /classify and /pooling are asked. */
SingleTexts input_of(const nlohmann::json& object, size_t most_pairs) {
  if (object.contains("messages") == object.contains("input"))
    fail("expected either 'input', texts that are written out, or 'messages', a conversation");
  if (object.contains("messages")) return conversation_of(object["messages"]);
  const nlohmann::json& input = object["input"];
  if (input.is_array() && !input.empty() && (input[0].is_number() || input[0].is_array()))
    fail("key 'input': token ids are not taken: send texts");
  return written_out(texts_of(object, "input"), most_pairs, "input");
}

AnswerJson usage_of(int64_t tokens) {
  return {{"prompt_tokens", tokens},
          {"total_tokens", tokens},
          {"completion_tokens", 0},
          {"prompt_tokens_details", nullptr}};
}

double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

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

/** An answer with one thing for each text of a request, made of the text's number and its reward. */
Question question_of(SingleTexts texts, const FormContext& context, const char* name,
                     std::function<AnswerJson(size_t, double)> item) {
  Question question;
  question.rows = texts.rows;
  question.answer = [texts = std::move(texts), context, name,
                     item = std::move(item)](std::span<const Verdict> verdicts) {
    AnswerJson data = AnswerJson::array();
    for (size_t i = 0; i < texts.places.size(); ++i) data.push_back(item(i, texts.reward(verdicts, i)));
    return AnswerJson{{"id", name + context.request}, {"object", "list"}, {"created", context.created},
                      {"model", context.model},       {"data", data},     {"usage", usage_of(texts.tokens(verdicts))}};
  };
  return question;
}

Question read_classify(std::string_view body, const FormContext& context) {
  const nlohmann::json object = object_of(body);
  // vLLM gives a model of one class a sigmoid, and takes it away when asked ("activation" is the key's former name).
  const bool activation = flag_of(object, "use_activation").value_or(flag_of(object, "activation").value_or(true));
  return question_of(input_of(object, context.most_pairs), context, "classify-", [activation](size_t i, double reward) {
    return AnswerJson{{"index", i},
                      {"label", "LABEL_0"},
                      {"probs", AnswerJson::array({activation ? sigmoid(reward) : reward})},
                      {"num_classes", 1}};
  });
}

Question read_pooling(std::string_view body, const FormContext& context) {
  const nlohmann::json object = object_of(body);
  const bool activation = flag_of(object, "use_activation").value_or(false);
  if (auto format = object.find("encoding_format"); format != object.end() && !format->is_null() && *format != "float")
    fail("key 'encoding_format': only 'float' is here");
  return question_of(input_of(object, context.most_pairs), context, "pool-", [activation](size_t i, double reward) {
    return AnswerJson{
        {"index", i}, {"object", "pooling"}, {"data", AnswerJson::array({activation ? sigmoid(reward) : reward})}};
  });
}

Question read_get_reward(std::string_view body, const FormContext& context) {
  const nlohmann::json json = parse_shallow(body);
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
  SingleTexts texts = written_out(texts_of(json, "query"), context.most_pairs, "query");
  question.rows = texts.rows;
  question.answer = [texts = std::move(texts)](std::span<const Verdict> verdicts) {
    std::vector<double> rewards;
    for (size_t i = 0; i < texts.places.size(); ++i) rewards.push_back(texts.reward(verdicts, i));
    return reward_answer(rewards);
  };
  return question;
}

}  // namespace gavel
