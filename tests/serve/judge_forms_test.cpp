// What a judge of pairs is asked in the forms of other services, without sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "serve/class_forms.h"
#include "serve/form_parts.h"
#include "serve/paired_texts.h"
#include "serve/reward_forms.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

FormContext context_of(std::vector<std::string> labels = {"A", "B", "tie"}) {
  return {3, "runs/judge", "77-1", 1700000000, JudgeKind::kPair, std::move(labels), ""};
}

/** B's probability is 0.5 where B is longer, else A's; the other has 0.3 and a tie 0.2. */
std::vector<Verdict> longer_one_wins(std::span<const PreferenceRow> rows) {
  std::vector<Verdict> verdicts;
  for (const PreferenceRow& row : rows) {
    Verdict& verdict = verdicts.emplace_back();
    const bool b = row.response_b.back().size() > row.response_a.back().size();
    verdict.probabilities = {b ? 0.3 : 0.5, b ? 0.5 : 0.3, 0.2};
    verdict.length = 10;
  }
  return verdicts;
}

AnswerJson answer_to(Question (*read)(std::string_view, const FormContext&), const std::string& body,
                     const FormContext& context = context_of()) {
  const Question question = read(body, context);
  return question.answer(longer_one_wins(question.rows));
}

std::string refusal_of(Question (*read)(std::string_view, const FormContext&), const std::string& body,
                       const FormContext& context = context_of()) {
  try {
    read(body, context);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

const std::string kMessages =
    R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And?"}, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "bb"}]})";

TEST(JudgeForms, ClassifyTellsTheOutcomes) {
  const AnswerJson json = answer_to(read_classify, kMessages);
  EXPECT_EQ(json["id"], "classify-77-1");
  EXPECT_EQ(json["data"].dump(), R"([{"index":0,"label":"B","probs":[0.3,0.5,0.2],"num_classes":3}])");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 10);
  const AnswerJson two = answer_to(read_classify, kMessages, context_of({"A", "B"}));
  EXPECT_EQ(two["data"][0]["num_classes"], 2);
  const AnswerJson logits = answer_to(read_classify, R"({"use_activation": false,)" + kMessages.substr(1));
  EXPECT_NEAR(logits["data"][0]["probs"][1].get<double>(), std::log(0.5), 1e-15);
}

TEST(JudgeForms, AConversationEndsWithBothAnswers) {
  const Question question = read_classify(kMessages, context_of());
  ASSERT_EQ(question.rows.size(), 1U);
  EXPECT_THAT(question.rows[0].prompt, ElementsAre("Hi", "And?"));
  EXPECT_THAT(question.rows[0].response_a, ElementsAre("Hello", "a"));
  EXPECT_THAT(question.rows[0].response_b, ElementsAre("Hello", "bb"));
  EXPECT_FALSE(question.rows[0].written_out);
  for (
      const auto& [messages, part] : std::vector<std::pair<std::string, std::string>>{
          {R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])", "the last two messages"},
          {R"([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])", "two messages of 'user'"},
          {R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"},
               {"role": "assistant", "content": "d"}])",
           "only the last two do"}})
    EXPECT_THAT(refusal_of(read_classify, "{\"messages\": " + messages + "}"), HasSubstr(part)) << messages;
}

TEST(JudgeForms, TextsArePairsOrWrittenOut) {
  const std::string pairs = R"({"input": [{"prompt": "p", "response_a": "aaa", "response_b": "b"},
                                         {"prompt": ["p", "q"], "response_a": ["a", "b"], "response_b": ["a", "bb"]}]})";
  const AnswerJson json = answer_to(read_classify, pairs);
  EXPECT_EQ(json["data"][0]["label"], "A");
  EXPECT_EQ(json["data"][1]["label"], "B");
  const Question written = read_classify(R"({"input": ["one", {"text": "two"}]})", context_of());
  ASSERT_EQ(written.rows.size(), 2U) << "a text holds both answers: none shares a row";
  EXPECT_TRUE(written.rows[1].written_out);
  EXPECT_THAT(written.rows[1].response_a, ElementsAre("two"));
  FormContext without = context_of();
  without.no_written_out = "no such texts";
  EXPECT_THAT(refusal_of(read_classify, R"({"input": ["one"]})", without), HasSubstr("'input': no such texts"));
  EXPECT_EQ(refusal_of(read_classify, pairs, without), "no error");
  EXPECT_THAT(refusal_of(read_classify, R"({"input": [{"prompt": "p"}]})"), HasSubstr("'response_a' is missing"));
  EXPECT_THAT(refusal_of(read_classify, R"({"input": ["a", "b", "c", "d"]})"), HasSubstr("4 texts are too many"));
}

TEST(JudgeForms, PredictAnswersTheLargestFirst) {
  EXPECT_EQ(answer_to(read_predict, R"({"inputs": ["p", "a", "bb"]})").dump(),
            R"([{"score":0.5,"label":"B"},{"score":0.3,"label":"A"},{"score":0.2,"label":"tie"}])");
  const AnswerJson batch =
      answer_to(read_predict, R"({"inputs": [["written out"], ["p", "a", "bb"]], "truncate": true})");
  ASSERT_EQ(batch.size(), 2U);
  EXPECT_EQ(batch[0][0]["label"], "A");
  EXPECT_EQ(batch[1][0]["label"], "B");
  EXPECT_EQ(answer_to(read_predict, R"({"inputs": "written out"})")[0]["label"], "A");
  for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({})", "'inputs' is missing"},
           {R"({"inputs": []})", "expected a list of texts"},
           {R"({"inputs": [["p", "a"]]})", "a sequence of 2 texts; expected one that is written out, or three"},
           {R"({"inputs": [[1, 2]]})", "token ids are not taken"},
           {R"({"inputs": 5})", "expected a list of texts"},
           {R"({"inputs": [["a"], "b"]})", "expected a list of texts"},
           {R"({"inputs": ""})", "a text is empty"},
           {R"({"inputs": "a", "raw_scores": 1})", "key 'raw_scores'"}})
    EXPECT_THAT(refusal_of(read_predict, body), HasSubstr(part)) << body;
  const FormContext reward{3, "", "", 0, JudgeKind::kReward, {}, ""};
  const Question question = read_predict(R"({"inputs": [["a"], ["b"], ["p", "c"]]})", reward);
  ASSERT_EQ(question.rows.size(), 2U) << "two texts that are written out share a row";
  std::vector<Verdict> verdicts(2);
  verdicts[0].rewards = {0, 2};
  verdicts[1].rewards = {-1, -1};
  const AnswerJson rewards = question.answer(verdicts);
  EXPECT_EQ(rewards[0].dump(), R"([{"score":0.5,"label":"LABEL_0"}])");
  EXPECT_NEAR(rewards[1][0]["score"].get<double>(), 1 / (1 + std::exp(-2.0)), 1e-15);
  EXPECT_NEAR(rewards[2][0]["score"].get<double>(), 1 / (1 + std::exp(1.0)), 1e-15);
  EXPECT_THAT(refusal_of(read_predict, R"({"inputs": [["p", "a", "b"]]})", reward),
              HasSubstr("two, prompt and response"));
}

TEST(JudgeForms, TrainersCompareWithReferences) {
  EXPECT_EQ(answer_to(read_get_reward, R"({"prompt": "p", "response": "a", "reference": "bb"})")["rewards"].dump(),
            "[0.4]");
  const AnswerJson several = answer_to(read_get_reward, R"([{"prompt": "p", "response": "aaa", "reference": "b"},
                                                      {"prompt": ["p"], "response": ["a"], "reference": ["bb"]}])");
  EXPECT_EQ(several["rewards"].dump(), "[0.6,0.4]");
  for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"prompt": "p", "response": "a"})", "a judge compares two answers"},
           {R"({"query": ["p"]})", "a judge compares two answers"},
           {R"({"prompt": ["p", "q"], "response": ["a", "b"], "reference": "c"})", "'reference' 1: expected as many"},
           {R"([])", "the list is empty"},
           {R"(["a"])", "expected objects"}})
    EXPECT_THAT(refusal_of(read_get_reward, body), HasSubstr(part)) << body;
}

TEST(JudgeForms, WrittenTextsAreReadInOneOrder) {
  size_t both = 0, one = 0;
  const JudgeFunction judge = with_written_texts(
      [&](std::span<const PreferenceRow> rows) {
        both += rows.size();
        return longer_one_wins(rows);
      },
      [&](std::span<const PreferenceRow> rows) {
        one += rows.size();
        return std::vector<Verdict>(rows.size());
      });
  PreferenceRow pair, text;
  pair.response_a = {"a"};
  pair.response_b = {"bb"};
  text.response_a = text.response_b = {"text"};
  text.written_out = true;
  const std::vector<Verdict> verdicts = judge(std::vector{text, pair, text});
  EXPECT_EQ(both, 1U);
  EXPECT_EQ(one, 2U);
  ASSERT_EQ(verdicts.size(), 3U);
  EXPECT_EQ(verdicts[1].probabilities[1], 0.5);
  EXPECT_EQ(verdicts[2].probabilities[1], 0);
}

}  // namespace
}  // namespace gavel
