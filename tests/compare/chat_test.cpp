// A chat model that is asked, with a service of our own making in its place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/loopback.h"
#include "base/scoped_variable.h"
#include "compare/judge_pairs.h"
#include "http/server.h"

namespace gavel {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using testing::HasSubstr;

/** Answers as `say` does, which is given the message and how often it came; counts what is asked at once. */
class StubChat final : public HttpHandler {
 public:
  using Say = std::function<HttpAnswer(const std::string& message, int time)>;
  explicit StubChat(Say say, std::chrono::milliseconds takes = 0ms)
      : say_(std::move(say)), takes_(takes), server_(*this, options()) {
    thread_ = std::thread([this] { server_.run(); });
  }
  ~StubChat() override {
    server_.stop();
    thread_.join();
    for (auto& thread : threads_) thread.join();
  }
  StubChat(const StubChat&) = delete;
  StubChat& operator=(const StubChat&) = delete;

  std::optional<HttpAnswer> on_head(const HttpHead& head) override {
    if (head.path == "/v1/chat/completions" && head.method == "POST") return std::nullopt;
    return HttpAnswer{404, R"({"error":{"message":"no such path"}})", "application/json", {}};
  }
  void on_body(const HttpHead& head, std::string body, HttpReply reply) override {
    threads_.emplace_back([this, authorization = head.header("authorization"), body = std::move(body), reply] {
      const Json json = Json::parse(body);
      int time = 0;
      const std::string message = json["messages"][0]["content"];
      {
        const std::lock_guard lock(mutex);
        requests.push_back(json);
        keys.insert(authorization);
        time = ++times_[message];
        most_at_once = std::max(most_at_once, ++at_once_);
      }
      std::this_thread::sleep_for(takes_);
      {
        const std::lock_guard lock(mutex);
        --at_once_;
      }
      reply(say_(message, time));
    });
  }
  HttpAnswer refusal(const HttpHead&, int status, const std::string& why) override {
    return {status, why, "text/plain", {}};
  }
  void on_end(const HttpHead&, int, double) override {}

  std::string url() const { return fmt::format("http://127.0.0.1:{}/v1", server_.port()); }

  std::mutex mutex;
  std::vector<Json> requests;
  std::set<std::string> keys;
  int most_at_once = 0;

 private:
  static HttpServerOptions options() {
    HttpServerOptions options;
    options.port = 0;
    return options;
  }
  Say say_;
  std::chrono::milliseconds takes_;
  std::map<std::string, int> times_;
  int at_once_ = 0;
  std::vector<std::thread> threads_;
  HttpServer server_;
  std::thread thread_;
};

HttpAnswer completion(const std::string& text) {
  const Json json = {{"choices", Json::array({Json{{"message", {{"role", "assistant"}, {"content", text}}}}})},
                     {"usage", {{"prompt_tokens", 11}, {"completion_tokens", 1}}}};
  return {200, json.dump(), "application/json", {}};
}

ChatEndpoint endpoint_of(const StubChat& stub) {
  ChatEndpoint endpoint;
  endpoint.url = stub.url();
  endpoint.model = "stub";
  endpoint.first_wait = 1ms;
  return endpoint;
}

PreferenceRow pair_of(const std::string& prompt, const std::string& a, const std::string& b) {
  PreferenceRow row;
  row.id = prompt;
  row.prompt = {prompt};
  row.response_a = {a};
  row.response_b = {b};
  return row;
}

template <class Function>
std::string error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ReadVerdict, IsStrict) {
  for (const char* a : {"A", "a", " A. ", "**A**", "\"A\"", "[[A]]", "`A`\n", "(A)", "<think>B is worse</think>A",
                        "A is longer, but it is right. [[A]]", "[[x]] [[A]] and once more [[A]]"})
    EXPECT_EQ(read_verdict(a), size_t{0}) << a;
  EXPECT_EQ(read_verdict("B"), size_t{1});
  for (const char* tie : {"tie", "Tie.", "TIE", "C", "[[C]]", "[[tie]]"})
    EXPECT_EQ(read_verdict(tie), size_t{2}) << tie;
  for (const char* none :
       {"", "Answer A", "A or B", "AB", "I prefer A", "[[A]] or [[B]]", "neither", "<think>A", "[[A]], no: [[B]]", "D"})
    EXPECT_EQ(read_verdict(none), std::nullopt) << none;
}

TEST(RenderQuestion, PutsTextsInOnce) {
  EXPECT_EQ(
      render_question("{prompt}|{response_a}|{response_b}|{prompt}{other}", pair_of("p {response_b}", "{prompt}", "b")),
      "p {response_b}|{prompt}|b|p {response_b}{other}");
  PreferenceRow row = pair_of("one", "a", "b");
  row.prompt.emplace_back("two");
  row.response_a.emplace_back("aa");
  row.response_b.emplace_back("bb");
  EXPECT_EQ(render_question("{prompt}/{response_b}", row),
            "[Round 1]\none\n\n[Round 2]\ntwo/[Round 1]\nb\n\n[Round 2]\nbb");
  const std::string text = render_question(default_question(), pair_of("PROMPT", "FIRST", "SECOND"));
  EXPECT_LT(text.find("PROMPT"), text.find("FIRST"));
  EXPECT_LT(text.find("FIRST"), text.find("SECOND"));
}

TEST(ParseChatJudge, ReadsItsSettings) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("gavel_chat_" + std::to_string(::getpid()) + ".txt");
  write_file(file, "{prompt} {response_a} {response_b}");
  const ScopedVariable key("GAVEL_TEST_KEY", "k-1");
  const ChatJudge judge =
      parse_chat_judge("http://host:1/v1/,model=m,prompt=" + file.string() +
                       ",key-env=GAVEL_TEST_KEY,temperature=none,max-tokens=7,concurrency=3,retries=0,timeout=9");
  EXPECT_EQ(judge.endpoint.url, "http://host:1/v1");
  EXPECT_EQ(judge.endpoint.model, "m");
  EXPECT_EQ(judge.endpoint.key, "k-1");
  EXPECT_EQ(judge.endpoint.temperature, std::nullopt);
  EXPECT_EQ(judge.endpoint.max_tokens, 7);
  EXPECT_EQ(judge.endpoint.concurrency, 3U);
  EXPECT_EQ(judge.endpoint.retries, 0);
  EXPECT_EQ(judge.endpoint.timeout, 9s);
  EXPECT_EQ(judge.question, "{prompt} {response_a} {response_b}");
  EXPECT_EQ(parse_chat_judge("https://host/v1,model=m").endpoint.key, "") << "no key goes anywhere unasked";
  write_file(file, "{prompt} {response_a}");
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "expected an address"},
           {"file:///etc/passwd,model=m", "expected an address"},
           {"http://user:secret@host/v1,model=m", "no user and password"},
           {"http://host/v1", "model=NAME is missing"},
           {"http://host/v1,model", "'model': expected key=value"},
           {"http://host/v1,modle=m", "did you mean 'model'"},
           {"http://host/v1,model=m,retries=-1", "retries=-1: expected a number from 0 to 100"},
           {"http://host/v1,model=m,temperature=nan", "expected a number from 0 to 2"},
           {"http://host/v1,model=m,key-env=GAVEL_NO_SUCH", "GAVEL_NO_SUCH: that variable is not set"},
           {"http://host/v1,model=m,prompt=" + file.string(), "{response_b} is missing"}})
    EXPECT_THAT(error_of([&, given = text] { parse_chat_judge(given); }), HasSubstr(part)) << text;
  const ScopedVariable lines("GAVEL_TEST_KEY", "k\r\nX: y");
  EXPECT_THAT(error_of([] { parse_chat_judge("http://host/v1,model=m,key-env=GAVEL_TEST_KEY"); }),
              HasSubstr("line end"));
  std::filesystem::remove(file);
}

class AskChat : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  }
};

TEST_F(AskChat, AnswersComeInOrderAndSoManyAtOnce) {
  StubChat stub([](const std::string& message, int) { return completion("<" + message + ">"); }, 20ms);
  ChatEndpoint endpoint = endpoint_of(stub);
  endpoint.concurrency = 3;
  endpoint.key = "secret";
  std::vector<std::string> prompts;
  for (int i = 0; i < 12; ++i) prompts.push_back(std::to_string(i));
  size_t last = 0;
  const std::vector<ChatReply> replies = ask_chat(endpoint, prompts, [&](size_t done) { last = done; });
  ASSERT_EQ(replies.size(), 12U);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(replies[static_cast<size_t>(i)].text, fmt::format("<{}>", i));
  EXPECT_EQ(last, 12U);
  EXPECT_GE(replies[0].seconds, 0.02);
  EXPECT_EQ(replies[0].prompt_tokens, 11);
  EXPECT_EQ(stub.most_at_once, 3);
  EXPECT_THAT(stub.keys, testing::ElementsAre("Bearer secret"));
  EXPECT_EQ(stub.requests[0]["temperature"], 0.0);
  EXPECT_FALSE(stub.requests[0].contains("max_tokens"));
}

TEST_F(AskChat, TriesAgainWhatMayPass) {
  StubChat stub([](const std::string& message, int time) {
    if (message == "busy" && time < 3) return HttpAnswer{429, "", "text/plain", {}};
    if (message == "broken") return HttpAnswer{500, R"({"error": {"message": "no memory"}})", "application/json", {}};
    if (message == "odd") return HttpAnswer{200, "[1]", "application/json", {}};
    return completion("A");
  });
  ChatEndpoint endpoint = endpoint_of(stub);
  endpoint.retries = 2;
  const std::vector<std::string> prompts = {"busy", "broken", "odd", "fine"};
  const std::vector<ChatReply> replies = ask_chat(endpoint, prompts);
  EXPECT_EQ(replies[0].text, "A");
  EXPECT_EQ(replies[0].error, "");
  EXPECT_EQ(replies[0].attempts, 3);
  EXPECT_EQ(replies[1].error, "status 500: no memory");
  EXPECT_EQ(replies[1].attempts, 3);
  EXPECT_THAT(replies[2].error, HasSubstr("no chat completion"));
  EXPECT_EQ(replies[3].attempts, 1);
  EXPECT_THAT(error_of([&] { ask_chat(endpoint, std::vector<std::string>{"broken"}); }),
              testing::AllOf(HasSubstr("not one question was answered: status 500: no memory (after 3 attempts)")));
}

TEST_F(AskChat, StopsWhereAllWouldFail) {
  StubChat stub([](const std::string&, int) {
    return HttpAnswer{401, R"({"error": {"message": "wrong key"}})", "application/json", {}};
  });
  ChatEndpoint endpoint = endpoint_of(stub);
  endpoint.concurrency = 1;
  const std::vector<std::string> prompts(20, "p");
  EXPECT_THAT(error_of([&] { ask_chat(endpoint, prompts); }), HasSubstr("/chat/completions: status 401: wrong key"));
  EXPECT_EQ(stub.requests.size(), 1U);
  endpoint.url += "/elsewhere";
  EXPECT_THAT(error_of([&] { ask_chat(endpoint, prompts); }), HasSubstr("status 404: no such path"));
}

TEST_F(AskChat, WaitsAndReadsSoMuchAlone) {
  StubChat stub(
      [](const std::string& message, int) { return completion(message == "long" ? std::string(2 << 20, 'A') : "A"); },
      400ms);
  ChatEndpoint endpoint = endpoint_of(stub);
  endpoint.retries = 0;
  endpoint.timeout = 100ms;
  EXPECT_THAT(error_of([&] { ask_chat(endpoint, std::vector<std::string>{"p"}); }), HasSubstr("(after 1 attempts)"));
  endpoint.timeout = 10s;
  const std::vector<ChatReply> replies = ask_chat(endpoint, std::vector<std::string>{"p", "long"});
  EXPECT_EQ(replies[0].text, "A");
  EXPECT_THAT(replies[1].error, HasSubstr("more than 1048576 bytes"));
  endpoint.url = "http://127.0.0.1:1/v1";
  EXPECT_THAT(error_of([&] { ask_chat(endpoint, std::vector<std::string>{"p"}); }), HasSubstr("not one question"));
}

TEST_F(AskChat, JudgesPairsInBothOrders) {
  // Prefers what is shown first, but where an answer says "best"; of "odd" it says nothing.
  StubChat stub([](const std::string& message, int) {
    const size_t best = message.find("best"), middle = message.find('|');
    if (message.find("odd") != std::string::npos) return completion("Neither, really");
    if (best == std::string::npos) return completion("A");
    return completion(best < middle ? "A" : "[[B]]");
  });
  ChatJudge judge{endpoint_of(stub), "{prompt} {response_a}|{response_b}"};
  const std::vector<PreferenceRow> rows = {pair_of("p", "one", "two"), pair_of("q", "best", "two"),
                                           pair_of("r", "one", "best"), pair_of("odd", "one", "two")};
  const JudgedPairs judged = judge_pairs(judge, rows, true);
  ASSERT_EQ(judged.opinions.size(), 4U);
  EXPECT_EQ(judged.opinions[0].in_order, size_t{0});
  EXPECT_EQ(judged.opinions[0].exchanged, size_t{1});
  EXPECT_EQ(judged.opinions[0].verdict, size_t{2}) << "it depends on the order";
  EXPECT_EQ(judged.opinions[1].verdict, size_t{0});
  EXPECT_EQ(judged.opinions[2].verdict, size_t{1});
  EXPECT_EQ(judged.opinions[3].verdict, std::nullopt);
  EXPECT_EQ(judged.requests, 8);
  EXPECT_EQ(judged.unreadable, 2);
  EXPECT_EQ(judged.failed, 0);
  EXPECT_EQ(judged.prompt_tokens, 88);
  EXPECT_EQ(judged.completion_tokens, 8);
  const std::vector<Votes> votes = {std::nullopt, Votes({1, 0, 0}), Votes({1, 0, 0}), Votes({1, 0, 0})};
  const nlohmann::ordered_json json = comparison_json(judged, judged, votes);
  EXPECT_EQ(json["judges"][0]["flip_rate"], 1.0 / 3);
  EXPECT_EQ(json["judges"][0]["accuracy"], 0.5);
  EXPECT_TRUE(json["judges"][0]["log_loss"].is_null());
  EXPECT_EQ(json["agreement"]["agreement"], 1.0);
  EXPECT_THAT(format_comparison(judged, judged, votes), HasSubstr("4 pairs, 3 with votes"));
  EXPECT_THAT(opinions_jsonl(judged, judged, rows), HasSubstr(R"({"verdict":"tie","in_order":"A","exchanged":"B"})"));
  const JudgedPairs one = judge_pairs(judge, rows, false);
  EXPECT_EQ(one.requests, 4);
  EXPECT_EQ(one.opinions[0].verdict, size_t{0});
  EXPECT_EQ(one.opinions[0].exchanged, std::nullopt);
}

}  // namespace
}  // namespace gavel
