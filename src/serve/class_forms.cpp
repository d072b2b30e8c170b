#include "serve/class_forms.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "judge/pair_json.h"
#include "serve/form_parts.h"

namespace gavel {

namespace {

double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

/** Probabilities of the classes, or with no `activation` what they are made of by softmax or sigmoid. */
std::vector<double> class_scores(const TextRows& texts, std::span<const Verdict> verdicts, size_t text,
                                 const FormContext& context, bool activation) {
  if (context.kind == JudgeKind::kReward) {
    const double reward = texts.reward(verdicts, text);
    return {activation ? sigmoid(reward) : reward};
  }
  const Outcome& probabilities = texts.verdict(verdicts, text).probabilities;
  std::vector<double> scores(probabilities.begin(),
                             probabilities.begin() + static_cast<std::ptrdiff_t>(context.labels.size()));
  if (!activation)
    for (double& score : scores) score = std::log(std::max(score, std::numeric_limits<double>::min()));
  return scores;
}

std::string label_of(const FormContext& context, size_t index) {
  return context.kind == JudgeKind::kReward ? "LABEL_0" : context.labels[index];
}

bool has_pairs(const nlohmann::json& input) {
  const nlohmann::json& first = input.is_array() && !input.empty() ? input.front() : input;
  return first.is_object() && !first.contains("text");
}

/** What /classify and /pooling are asked. */
TextRows input_of(const nlohmann::json& object, const FormContext& context) {
  if (object.contains("messages") == object.contains("input"))
    fail("expected either 'input', texts that are written out, or 'messages', a conversation");
  TextRows texts;
  if (object.contains("messages")) {
    texts.add_row(conversation_of(object["messages"], context.kind));
    return texts;
  }
  const nlohmann::json& input = object["input"];
  if (input.is_array() && !input.empty() && (input[0].is_number() || input[0].is_array()))
    fail("key 'input': token ids are not taken: send texts");
  if (context.kind != JudgeKind::kReward && has_pairs(input)) {
    for (PreferenceRow& row : pairs_from_json(input.dump(), context.most_pairs)) texts.add_row(std::move(row));
    return texts;
  }
  for (std::string& text : texts_of(object, "input")) texts.add_written_out(std::move(text), context, "input");
  return texts;
}

AnswerJson usage_of(int64_t tokens) {
  return {{"prompt_tokens", tokens},
          {"total_tokens", tokens},
          {"completion_tokens", 0},
          {"prompt_tokens_details", nullptr}};
}

/** An answer with one thing for each text of a request, made of the text's number and its scores. */
Question question_of(TextRows texts, const FormContext& context, const char* name, bool activation,
                     std::function<AnswerJson(size_t, const std::vector<double>&)> item) {
  Question question;
  question.rows = texts.rows(context.most_pairs);
  question.answer = [texts = std::move(texts), context, name, activation,
                     item = std::move(item)](std::span<const Verdict> verdicts) {
    AnswerJson data = AnswerJson::array();
    for (size_t i = 0; i < texts.size(); ++i)
      data.push_back(item(i, class_scores(texts, verdicts, i, context, activation)));
    return AnswerJson{
        {"id", name + context.request}, {"object", "list"}, {"created", context.created},
        {"model", context.model},       {"data", data},     {"usage", usage_of(texts.tokens(verdicts, context.kind))}};
  };
  return question;
}

/** Adds a sequence of /predict: a text that is written out, or the parts of what a template is put around. */
void add_sequence(const nlohmann::json& sequence, const FormContext& context, TextRows& texts) {
  if (!sequence.is_array() || sequence.empty())
    fail("key 'inputs': expected a list of texts, found {}", sequence.dump());
  std::vector<std::string> parts;
  for (const nlohmann::json& part : sequence) {
    if (!part.is_string()) fail("key 'inputs': expected a text, found {} (token ids are not taken)", part.type_name());
    parts.push_back(part.get<std::string>());
  }
  const bool reward = context.kind == JudgeKind::kReward;
  if (parts.size() == 1) return texts.add_written_out(std::move(parts[0]), context, "inputs");
  if (parts.size() != (reward ? 2 : 3))
    fail("key 'inputs': a sequence of {} texts; expected one that is written out, or {}", parts.size(),
         reward ? "two, prompt and response" : "three, prompt, answer A and answer B");
  PreferenceRow row;
  row.prompt = {std::move(parts[0])};
  row.response_a = {std::move(parts[1])};
  row.response_b = reward ? row.response_a : std::vector{std::move(parts[2])};
  texts.add_row(std::move(row));
}

}  // namespace

Question read_classify(std::string_view body, const FormContext& context) {
  const nlohmann::json object = object_of(body);
  // vLLM gives classes a sigmoid or softmax, and takes it away when asked ("activation" is the key's former name).
  const bool activation = flag_of(object, "use_activation").value_or(flag_of(object, "activation").value_or(true));
  return question_of(input_of(object, context), context, "classify-", activation,
                     [context](size_t i, const std::vector<double>& scores) {
                       const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
                       return AnswerJson{{"index", i},
                                         {"label", label_of(context, static_cast<size_t>(best))},
                                         {"probs", scores},
                                         {"num_classes", scores.size()}};
                     });
}

Question read_pooling(std::string_view body, const FormContext& context) {
  const nlohmann::json object = object_of(body);
  const bool activation = flag_of(object, "use_activation").value_or(false);
  if (auto format = object.find("encoding_format"); format != object.end() && !format->is_null() && *format != "float")
    fail("key 'encoding_format': only 'float' is here");
  return question_of(input_of(object, context), context, "pool-", activation,
                     [](size_t i, const std::vector<double>& scores) {
                       return AnswerJson{{"index", i}, {"object", "pooling"}, {"data", scores}};
                     });
}

Question read_predict(std::string_view body, const FormContext& context) {
  const nlohmann::json object = object_of(body);
  const bool raw = flag_of(object, "raw_scores").value_or(false);
  if (!object.contains("inputs")) fail("key 'inputs' is missing");
  const nlohmann::json& inputs = object["inputs"];
  TextRows texts;
  const bool several = inputs.is_array() && !inputs.empty() && inputs[0].is_array();
  if (several)
    for (const nlohmann::json& sequence : inputs) add_sequence(sequence, context, texts);
  else
    add_sequence(inputs.is_string() ? nlohmann::json::array({inputs}) : inputs, context, texts);
  Question question;
  question.rows = texts.rows(context.most_pairs);
  question.answer = [texts = std::move(texts), context, raw, several](std::span<const Verdict> verdicts) {
    AnswerJson list = AnswerJson::array();
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<double> scores = class_scores(texts, verdicts, i, context, !raw);
      AnswerJson classes = AnswerJson::array();
      for (size_t best : best_first(scores))
        classes.push_back({{"score", scores[best]}, {"label", label_of(context, best)}});
      list.push_back(std::move(classes));
    }
    return several ? list : list[0];
  };
  return question;
}

}  // namespace gavel
