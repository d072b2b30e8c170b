// What a reward is asked and how it answers, without sockets.
#include "serve/reward_forms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "serve/class_forms.h"
#include "serve/form_parts.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const FormContext kContext{3, "runs/reward", "77-1", 1700000000, JudgeKind::kReward, {}, ""};

/** The reward of a text is its length minus 3, and it has ten times as many tokens. */
AnswerJson ask(Question (*read)(std::string_view, const FormContext&), const std::string& body) {
  const Question question = read(body, kContext);
  std::vector<Verdict> verdicts;
  for (const PreferenceRow& row : question.rows) {
    Verdict& verdict = verdicts.emplace_back();
    const auto a = static_cast<int64_t>(row.response_a.back().size()),
               b = static_cast<int64_t>(row.response_b.back().size());
    verdict.rewards = {static_cast<double>(a - 3), static_cast<double>(b - 3)};
    verdict.length = 10 * a;
    verdict.length_b = 10 * b;
  }
  return question.answer(verdicts);
}

std::string error_of(Question (*read)(std::string_view, const FormContext&), const std::string& body) {
  try {
    read(body, kContext);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(RewardForms, ClassifyAnswersAsAModelOfOneClass) {
  const AnswerJson json = ask(read_classify, R"({"model": "any", "input": ["abc", "abcd", "a"]})");
  EXPECT_EQ(json["id"], "classify-77-1");
  EXPECT_EQ(json["object"], "list");
  EXPECT_EQ(json["created"], 1700000000);
  EXPECT_EQ(json["model"], "runs/reward");
  ASSERT_EQ(json["data"].size(), 3U);
  EXPECT_EQ(json["data"][0].dump(), R"({"index":0,"label":"LABEL_0","probs":[0.5],"num_classes":1})");
  EXPECT_NEAR(json["data"][1]["probs"][0].get<double>(), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(json["data"][2]["probs"][0].get<double>(), 0.11920292202211755, 1e-15);
  EXPECT_EQ(json["usage"].dump(),
            R"({"prompt_tokens":80,"total_tokens":80,"completion_tokens":0,"prompt_tokens_details":null})");
  EXPECT_EQ(ask(read_classify, R"({"input": "abcde", "use_activation": false})")["data"][0]["probs"].dump(), "[2.0]");
  EXPECT_EQ(ask(read_classify, R"({"input": "abcde", "activation": false})")["data"][0]["probs"].dump(), "[2.0]");
}

TEST(RewardForms, PoolingAnswersWithTheReward) {
  const AnswerJson json = ask(read_pooling, R"({"input": ["abcd", "ab"]})");
  EXPECT_EQ(json["id"], "pool-77-1");
  EXPECT_EQ(json["data"][0].dump(), R"({"index":0,"object":"pooling","data":[1.0]})");
  EXPECT_EQ(json["data"][1]["data"].dump(), "[-1.0]");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 60);
  EXPECT_EQ(ask(read_pooling, R"({"input": "abc", "use_activation": true})")["data"][0]["data"].dump(), "[0.5]");
  EXPECT_THAT(error_of(read_pooling, R"({"input": "abc", "encoding_format": "base64"})"), HasSubstr("only 'float'"));
}

TEST(RewardForms, AConversationComesAsMessages) {
  const Question question = read_classify(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
          {"role": "assistant", "content": "Hello"}, {"role": "user", "content": [{"type": "text", "text": "And?"}]},
          {"role": "assistant", "content": "Bye"}]})",
      kContext);
  ASSERT_EQ(question.rows.size(), 1U);
  EXPECT_FALSE(question.rows[0].written_out);
  EXPECT_THAT(question.rows[0].prompt, ElementsAre("Be brief.\n\nHi", "And?"));
  EXPECT_THAT(question.rows[0].response_a, ElementsAre("Hello", "Bye"));
  // The reward of this text counts once, though it stands on both sides.
  const AnswerJson json = ask(read_classify, R"({"messages": [{"role": "user", "content": "Hi"},
                                                      {"role": "assistant", "content": "abc"}]})");
  EXPECT_EQ(json["data"].size(), 1U);
  EXPECT_EQ(json["usage"]["prompt_tokens"], 30);
  for (const auto& [messages, part] : std::vector<std::pair<std::string, std::string>>{
           {R"([])", "expected a list of messages"},
           {R"([{"role": "user", "content": "Hi"}])", "the last message must be the assistant's"},
           {R"([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])", "two messages of 'user'"},
           {R"([{"role": "tool", "content": "a"}])", "message 1 is of 'tool'"},
           {R"([{"role": "user"}])", "message 1 has no 'content'"},
           {R"([{"role": "user", "content": 1}])", "message 1 has a content that is no text"},
           {R"([{"role": "user", "content": [{"type": "image_url"}]}])", "message 1 has a part that is no text"},
           {R"(["a"])", "message 1 is no object"}})
    EXPECT_THAT(error_of(read_classify, "{\"messages\": " + messages + "}"), HasSubstr(part)) << messages;
}

TEST(RewardForms, TextsThatAreWrittenOutShareRows) {
  const Question question = read_classify(R"({"input": ["a", "b", "c"]})", kContext);
  ASSERT_EQ(question.rows.size(), 2U);
  EXPECT_TRUE(question.rows[0].written_out);
  EXPECT_THAT(question.rows[0].response_a, ElementsAre("a"));
  EXPECT_THAT(question.rows[0].response_b, ElementsAre("b"));
  EXPECT_THAT(question.rows[1].response_b, ElementsAre("c"));
  for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"input": [1, 2]})", "token ids are not taken"},
           {R"({"input": [[1, 2]]})", "token ids are not taken"},
           {R"({"input": ["a", ""]})", "a text is empty"},
           {R"({"input": "a", "messages": []})", "either 'input'"},
           {R"({})", "either 'input'"},
           {R"({"input": "a", "use_activation": "no"})", "key 'use_activation': expected true or false"},
           {R"({"input": ["a", "a", "a", "a", "a", "a", "a"]})", "7 texts are too many: 4 rows of at most 3"}})
    EXPECT_THAT(error_of(read_classify, body), HasSubstr(part)) << body;
}

TEST(RewardForms, GetRewardAnswersTrainers) {
  const AnswerJson json =
      ask(read_get_reward, R"({"query": ["<|user|>abc", "ab"], "prompts": ["<|user|>", ""], "labels": [null, "x"]})");
  EXPECT_EQ(json.dump(), R"({"rewards":[8.0,-1.0],"scores":[8.0,-1.0],"extra_logs":{}})");
  EXPECT_EQ(ask(read_get_reward, R"({"prompt": ["p", "p", "q"], "response": ["a", "abc", "abcd"]})")["rewards"].dump(),
            "[-2.0,0.0,1.0]");
  EXPECT_EQ(
      ask(read_get_reward, R"([{"prompt": "p", "response": "a"}, {"prompt": "q", "response": "ab"}])")["scores"].dump(),
      "[-2.0,-1.0]");
  const Question pair = read_get_reward(R"({"prompt": "p", "response": "a"})", kContext);
  EXPECT_FALSE(pair.rows.at(0).written_out);
  for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"prompts": ["p"]})", "expected 'query', or 'prompt' and 'response'"},
           {R"({"prompt": ["p", "q"], "response": "a"})", "'prompt' has 2 texts and 'response' 1"},
           {R"({"query": []})", "key 'query' is an empty list"},
           {R"([])", "the list is empty"},
           {R"(["a"])", "expected objects with 'prompt' and 'response'"},
           {R"("a")", "expected an object, found string"},
           {R"({"query": "a)", "not valid JSON"}})
    EXPECT_THAT(error_of(read_get_reward, body), HasSubstr(part)) << body;
}

}  // namespace
}  // namespace gavel
