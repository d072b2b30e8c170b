// The service with a judge of our own making, through real sockets.
#include "serve/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/loopback.h"
#include "serve/openapi.h"
#include "serve/request_log.h"
#include "serve/routes.h"

namespace gavel {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using testing::HasSubstr;

/** A wins when its text is longer; slow or broken on demand. */
std::vector<Verdict> by_length(std::span<const PreferenceRow> rows) {
  std::vector<Verdict> verdicts;
  for (const PreferenceRow& row : rows) {
    const std::string prompt = row.prompt.empty() ? "" : row.prompt[0];
    if (prompt == "slow") std::this_thread::sleep_for(400ms);
    if (prompt == "fail") fail("no judge today");
    Verdict verdict;
    double a = static_cast<double>(row.response_a[0].size()), b = static_cast<double>(row.response_b[0].size());
    verdict.probabilities = {a / (a + b + 1), b / (a + b + 1), 1 / (a + b + 1)};
    verdict.rewards = {a, b};
    verdict.length = verdict.full_length = 7;
    verdict.length_b = 5;
    verdicts.push_back(verdict);
  }
  return verdicts;
}

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  }
  void start(ServiceOptions options = {}, JudgeFunction judge = by_length) {
    options.http.port = 0;
    service_ = std::make_unique<Service>(std::move(judge), options);
    thread_ = std::thread([this] { service_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    service_->stop();
    thread_.join();
  }
  void TearDown() override { stop(); }

  /** A request's answer; status 0 where there was none. */
  HttpReceived ask(const std::string& method, const std::string& path,
                   const std::vector<std::pair<std::string, std::string>>& headers = {},
                   const std::string& body = "") const {
    return http_ask(service_->port(), method, path, headers, body).value_or(HttpReceived{});
  }
  HttpReceived get(const std::string& path) const { return ask("GET", path); }
  HttpReceived post(const std::string& path, const std::string& body,
                    const std::string& type = "application/json") const {
    return ask("POST", path, {{"Content-Type", type}}, body);
  }
  int status_of(const std::string& body, const char* type = "application/json") const {
    const HttpReceived found = post("/v1/judge", body, type);
    if (found.status != 200) {
      EXPECT_TRUE(Json::accept(found.body)) << found.body;
      EXPECT_THAT(found.body, HasSubstr("\"error\""));
    }
    return found.status;
  }
  /** Sends raw bytes and returns all that comes back within `wait`. */
  std::string raw(const std::string& bytes, std::chrono::milliseconds wait = 3000ms) const {
    RawClient client(service_->port(), wait);
    client.send(bytes);
    return client.receive();
  }
  static std::string pair(const std::string& prompt = "p") {
    return Json{{"prompt", prompt}, {"response_a", "long answer"}, {"response_b", "short"}}.dump();
  }

  std::unique_ptr<Service> service_;
  std::thread thread_;
};

TEST_F(ServiceTest, AnswersPairsListsHealthMetricsAndThePage) {
  start();
  HttpReceived found = post("/v1/judge", pair(), "Application/JSON; charset=utf-8");
  EXPECT_EQ(found.status, 200);
  EXPECT_EQ(Json::parse(found.body)["verdict"], "A");
  found = post("/v1/judge",
               "[" + pair() + "," + R"({"id":9,"prompt":["a","b"],"response_a":"x","response_b":"longer"})" + "]");
  auto list = Json::parse(found.body);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1]["verdict"], "B");
  EXPECT_EQ(list[1]["id"], "9");
  EXPECT_THAT(get("/").body, HasSubstr("Which answer is better?"));
  EXPECT_THAT(get("/").headers["Content-Security-Policy"], HasSubstr("default-src 'none'"));
  std::string metrics = get("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("gavel_requests_total{route=\"/v1/judge\",status=\"200\"} 2"));
  EXPECT_THAT(metrics, HasSubstr("gavel_pairs_total 3"));
  EXPECT_THAT(metrics, HasSubstr("gavel_request_duration_seconds_bucket{le=\"+Inf\"} 2"));
}

TEST_F(ServiceTest, RewardsRerankAndScore) {
  ServiceOptions options;
  options.kind = JudgeKind::kReward;
  options.name = "runs/reward";
  start(options);
  auto ask = [&](const char* path, const std::string& body) {
    const HttpReceived found = post(path, body);
    return std::pair(found.status, Json::parse(found.body));
  };
  for (const char* path : {"/rerank", "/v1/rerank"}) {
    auto [status, json] = ask(
        path,
        R"({"model": "x", "query": "q", "documents": ["bb", {"text": "cccc"}, "a"], "top_n": 2, "return_documents": true})");
    EXPECT_EQ(status, 200);
    EXPECT_EQ(json["model"], "runs/reward");
    ASSERT_EQ(json["results"].size(), 2U);
    EXPECT_EQ(json["results"][0]["index"], 1);
    EXPECT_EQ(json["results"][0]["relevance_score"], 4);
    EXPECT_EQ(json["results"][0]["document"]["text"], "cccc");
    EXPECT_EQ(json["results"][1]["index"], 0);
  }
  auto [status, json] = ask("/score", R"({"text_1": "q", "text_2": ["a", "bbb", "cc"]})");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(json["data"][1], (Json{{"index", 1}, {"object", "score"}, {"score", 3}}));
  EXPECT_EQ(ask("/v1/score", R"({"text_1": ["p", "q"], "text_2": ["a", "bbb"]})").second["data"].size(), 2U);
  for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"text_1": ["p", "q"], "text_2": "a"})", "has 2 texts and 'text_2' 1"},
           {R"({"text_1": "p"})", "'text_2' is missing"},
           {R"({"text_1": "p", "text_2": []})", "is an empty list"},
           {R"([1])", "expected an object, found array"}})
    EXPECT_THAT(ask("/score", body).second["error"]["message"].get<std::string>(), HasSubstr(part)) << body;
  EXPECT_EQ(ask("/rerank", R"({"query": "q", "documents": ["a"], "top_n": 0})").first, 400);
  std::string many = R"({"query": "q", "documents": ["a")";
  for (int i = 0; i < 200; ++i) many += ",\"a\"";
  EXPECT_THAT(ask("/rerank", many + "]}").second["error"]["message"].get<std::string>(),
              HasSubstr("at most 128 answers"));
  EXPECT_EQ(get("/rerank").status, 405);
  stop();
  start();
  EXPECT_EQ(ask("/rerank", R"({"query": "q", "documents": ["a"]})").first, 404);
}

TEST_F(ServiceTest, EachFormHasItsOwnErrors) {
  ServiceOptions options;
  options.kind = JudgeKind::kReward;
  options.token = "secret";
  start(options);
  auto ask = [&](const char* path, const std::string& body, const char* token = "Bearer secret") {
    const HttpReceived found =
        this->ask("POST", path, {{"Authorization", token}, {"Content-Type", "application/json"}}, body);
    return std::pair(found.status, Json::parse(found.body));
  };
  for (const char* path : {"/classify", "/v1/classify", "/pooling"}) {
    EXPECT_EQ(ask(path, R"({"input": ["abc", "b"]})").second["data"].size(), 2U);
    auto [status, json] = ask(path, "{}");
    EXPECT_EQ(status, 400);
    EXPECT_EQ(json["error"]["type"], "BadRequestError");
    EXPECT_EQ(json["error"]["code"], 400);
    EXPECT_TRUE(json["error"]["param"].is_null());
    EXPECT_THAT(json["error"]["message"].get<std::string>(), HasSubstr("either 'input'"));
    EXPECT_EQ(ask(path, "{}", "Bearer no").second["error"]["type"], "AuthenticationError");
    EXPECT_EQ(ask(path, R"({"messages": [{"role": "user", "content": "fail"}, {"role": "assistant", "content": "x"}]})")
                  .second["error"]["code"],
              500);
  }
  EXPECT_EQ(ask("/get_reward", R"({"query": ["abc"]})").second["rewards"], Json({3.0}));
  EXPECT_THAT(ask("/get_reward", "{}").second["error"].get<std::string>(), HasSubstr("expected 'query'"));
  auto first = ask("/classify", R"({"input": "a"})").second["id"],
       second = ask("/classify", R"({"input": "a"})").second["id"];
  EXPECT_NE(first, second);
  stop();
  options.kind = JudgeKind::kPair;
  start(options);
  auto [status, json] = ask("/pooling", R"({"input": "a"})");
  EXPECT_EQ(status, 404);
  EXPECT_EQ(json["error"]["type"], "NotFoundError");
}

Json resolved(Json schema, const Json& all) {
  while (schema.contains("$ref")) schema = all.at(schema["$ref"].get<std::string>().substr(21));
  return schema;
}

/** Whether a value is the array (of arrays or objects) or the object that a schema speaks of. */
bool is_of_type(const Json& value, const Json& given, const Json& all) {
  const Json schema = resolved(given, all);
  if (schema.value("type", "object") != (value.is_array() ? "array" : "object")) return false;
  return !value.is_array() || value.empty() || is_of_type(value[0], schema["items"], all);
}

/** Objects have the keys that a schema requires, and no others. */
void expect_required(const Json& value, const Json& given, const Json& all, const std::string& where) {
  const Json schema = resolved(given, all);
  if (schema.contains("oneOf")) {
    for (const Json& one : schema["oneOf"])
      if (is_of_type(value, one, all)) return expect_required(value, one, all, where);
    FAIL() << where << ": no alternative for " << value;
  }
  for (const Json& key : schema.value("required", Json::array()))
    EXPECT_TRUE(value.contains(key.get<std::string>())) << where << ": " << key << " of " << value;
  const Json properties = schema.value("properties", Json::object());
  if (value.is_object() && !properties.empty())
    for (const auto& [key, of_key] : value.items()) {
      EXPECT_TRUE(properties.contains(key)) << where << ": " << key << " is not described";
      if (properties.contains(key)) expect_required(of_key, properties[key], all, where + "." + key);
    }
  if (value.is_array() && schema.contains("items"))
    for (const Json& item : value) expect_required(item, schema["items"], all, where + "[]");
}

TEST_F(ServiceTest, EveryRouteIsAsItsDocumentSays) {
  for (const JudgeKind kind : {JudgeKind::kPair, JudgeKind::kReward}) {
    ServiceOptions options;
    options.kind = kind;
    options.name = "runs/mine";
    start(options);
    const Json document = Json::parse(get("/openapi.json").body);
    EXPECT_EQ(document, Json(openapi_document()));
    EXPECT_EQ(document["openapi"], "3.1.0");
    EXPECT_EQ(document["paths"].size(), routes().size());
    const Json& schemas = document["components"]["schemas"];
    for (const Route& route : routes()) {
      const bool fetched = route.read == nullptr;
      const Json& operation = document["paths"][route.path][fetched ? "get" : "post"];
      ASSERT_TRUE(operation.is_object()) << route.path;
      const Json& content = operation["responses"]["200"]["content"];
      if (fetched) {
        const HttpReceived found = get(route.path);
        EXPECT_EQ(found.status, 200) << route.path;
        const std::string type = found.headers.at("Content-Type");
        ASSERT_TRUE(content.contains(type.substr(0, type.find(';')))) << route.path << " is " << type;
        if (type == "application/json")
          expect_required(Json::parse(found.body), content["application/json"]["schema"], schemas, route.path);
        continue;
      }
      const Json& examples = operation["requestBody"]["content"]["application/json"]["examples"];
      const std::string name = kind == JudgeKind::kReward ? "reward" : "judge";
      const HttpReceived found =
          post(route.path, examples.value(name, Json{{"value", Json::object()}})["value"].dump());
      EXPECT_EQ(found.status, examples.contains(name) ? 200 : 404) << route.path << found.body;
      expect_required(Json::parse(found.body),
                      operation["responses"][std::to_string(found.status)]["content"]["application/json"]["schema"],
                      schemas, route.path);
    }
    stop();
  }
}

/** Names of families of metrics, each with its type. */
std::map<std::string, std::string> metric_types(const std::string& text) {
  std::map<std::string, std::string> found;
  const std::regex line(R"(# TYPE ([a-z_]+) ([a-z]+)\n)");
  for (std::sregex_iterator at(text.begin(), text.end(), line), end; at != end; ++at) found[(*at)[1]] = (*at)[2];
  return found;
}

TEST_F(ServiceTest, MetricsKeepToPrometheusConventions) {
  start();
  ASSERT_EQ(status_of(pair()), 200);
  ASSERT_EQ(post("/classify", "{}").status, 400);
  get("/nothing");
  const std::string text = get("/metrics").body;
  EXPECT_THAT(text, HasSubstr("gavel_requests_total{route=\"/classify\",status=\"400\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("gavel_requests_total{route=\"/v1/judge\",status=\"200\"} 1\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("nothing"))) << "strangers make no labels";
  EXPECT_THAT(text, HasSubstr("gavel_tokens_total 12\n"));
  EXPECT_THAT(text, HasSubstr("gavel_batch_duration_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("gavel_queue_wait_seconds_count 1\n"));
  const std::map<std::string, std::string> types = metric_types(text);
  EXPECT_GT(types.size(), 10U);
  for (const auto& [name, type] : types) {
    EXPECT_THAT(text, HasSubstr("# HELP " + name + " ")) << name;
    EXPECT_EQ(type == "counter", name.ends_with("_total")) << name;
    EXPECT_TRUE(name.starts_with("gavel_") || name.starts_with("process_")) << name;
    if (type == "histogram" || type == "summary") {
      EXPECT_TRUE(name.ends_with("_seconds")) << name;
    }
  }
  // Each sample belongs to a family that was told before.
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) continue;
    std::string name = line.substr(0, line.find_first_of("{ "));
    if (!types.contains(name)) name = std::regex_replace(name, std::regex("_(bucket|sum|count)$"), "");
    EXPECT_TRUE(types.contains(name)) << line;
  }
}

TEST_F(ServiceTest, TheDashboardAsksForWhatThereIs) {
  start();
  const std::map<std::string, std::string> types = metric_types(get("/metrics").body);
  const std::string text = read_text(std::filesystem::path(GAVEL_SOURCE_DIR) / "docs/grafana.json");
  const Json board = Json::parse(text);
  std::set<std::string> asked;
  for (const Json& panel : board["panels"])
    for (const Json& target : panel.value("targets", Json::array())) {
      const std::string query = target["expr"];
      const std::regex word("(gavel|process)_[a-z_]+");
      for (std::sregex_iterator at(query.begin(), query.end(), word), end; at != end; ++at)
        asked.insert(std::regex_replace(at->str(), std::regex("_(bucket|sum|count)$"), ""));
    }
  EXPECT_GT(asked.size(), 8U);
  for (const std::string& name : asked) EXPECT_TRUE(types.contains(name)) << name;
  for (const auto& [name, type] : types)
    if (name.starts_with("gavel_")) {
      EXPECT_TRUE(asked.contains(name)) << name << " is on no panel";
    }
}

TEST_F(ServiceTest, EachRequestCanBeLogged) {
  std::vector<std::string> lines;
  ServiceOptions options;
  options.on_request = [&](const HttpHead& head, int status, double seconds) {
    EXPECT_GE(seconds, 0);
    lines.push_back(request_json(head, status, 0.25));
  };
  start(options);
  ask("POST", "/v1/judge?secret", {{"X-Request-Id", "me"}, {"Content-Type", "application/json"}}, pair());
  raw("GET /\"\\<b> HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  get("/" + std::string(5000, 'x'));
  stop();
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(
      lines[0],
      R"({"message":"request","request_id":"me","method":"POST","path":"/v1/judge","status":200,"duration_seconds":0.25})");
  EXPECT_THAT(lines[1], HasSubstr("\"path\":\"/\\\"\\\\<b>\",\"status\":404"));
  EXPECT_TRUE(Json::accept(lines[1]));
  EXPECT_LT(lines[2].size(), 400U);
}

TEST_F(ServiceTest, ListsItsModelAndTypesItsErrors) {
  ServiceOptions options;
  options.name = "runs/mine";
  options.token = "secret";
  start(options);
  const std::vector<std::pair<std::string, std::string>> token = {{"Authorization", "Bearer secret"}};
  const Json models = Json::parse(ask("GET", "/v1/models", token).body);
  EXPECT_EQ(models["data"][0]["id"], "runs/mine");
  EXPECT_EQ(models["data"].size(), 1U);
  EXPECT_EQ(Json::parse(get("/v1/models").body)["error"]["type"], "AuthenticationError");
  EXPECT_EQ(Json::parse(get("/v1/nothing").body)["error"]["type"], "NotFoundError");
  EXPECT_TRUE(Json::parse(get("/nothing").body)["error"].is_string());
  EXPECT_EQ(get("/openapi.json").status, 200) << "it says nothing of the judge";
  const HttpReceived typed = ask("POST", "/predict", {token[0], {"Content-Type", "application/json"}}, "{}");
  EXPECT_EQ(typed.status, 400);
  const Json error = Json::parse(typed.body);
  EXPECT_THAT(error["error"].get<std::string>(), HasSubstr("'inputs' is missing"));
  EXPECT_EQ(error["error_type"], "Validation");
}

TEST_F(ServiceTest, EveryAnswerHasItsRequestsName) {
  start();
  auto id_of = [&](const std::string& given) {
    return ask("GET", "/health", {{"X-Request-Id", given}}).headers["X-Request-Id"];
  };
  EXPECT_EQ(id_of("Abc-1._:/+=@~"), "Abc-1._:/+=@~");
  const std::string own = get("/health").headers["X-Request-Id"], next = get("/nothing").headers["X-Request-Id"];
  EXPECT_FALSE(own.empty());
  EXPECT_NE(own, next);
  for (const std::string& unfit :
       {std::string("a b"), std::string("<script>"), std::string(129, 'a'), std::string("\x1b[31m")})
    EXPECT_EQ(id_of(unfit).substr(0, 9), own.substr(0, 9)) << unfit;
  EXPECT_EQ(id_of(std::string(128, 'a')).size(), 128U);
  const HttpReceived found =
      ask("POST", "/classify", {{"X-Request-Id", "mine"}, {"Content-Type", "application/json"}}, R"({"input": ["a"]})");
  EXPECT_EQ(Json::parse(found.body)["id"], "classify-mine");
  EXPECT_THAT(raw("garbage\r\n\r\n"), HasSubstr("X-Request-Id: " + own.substr(0, 9)));
}

TEST_F(ServiceTest, MalformedRequestsAreRefusedAndTheServiceLivesOn) {
  ServiceOptions options;
  options.http.max_body_bytes = 4096;
  options.max_pairs = 3;
  options.http.body_timeout = 600ms;
  start(options);
  std::string deep(3000, '[');
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"prompt\":\"a\"}"),
        std::string("\xff\xfe{"), deep, std::string("{\"prompt\":[],\"response_a\":\"a\",\"response_b\":\"b\"}"),
        std::string("{\"prompt\":{\"a\":1},\"response_a\":\"a\",\"response_b\":\"b\"}"),
        std::string("{\"promt\":\"a\",\"response_a\":\"a\",\"response_b\":\"b\"}"),
        "[" + pair() + "," + pair() + "," + pair() + "," + pair() + "]"})
    EXPECT_EQ(status_of(body), 400) << body.substr(0, 60);
  EXPECT_EQ(status_of(pair(), "text/plain"), 415);
  EXPECT_EQ(status_of(std::string(5000, ' ')), 413);
  EXPECT_EQ(get("/v1/judge").status, 405);
  EXPECT_EQ(ask("PUT", "/v1/judge", {{"Content-Type", "application/json"}}, "{}").status, 405);
  EXPECT_EQ(get("/nothing").status, 404);
  EXPECT_EQ(get("/../../etc/passwd").status, 404);

  const std::string head = "POST /v1/judge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  EXPECT_THAT(raw(head + "Content-Length: 100\r\n\r\n{\"prompt\""), HasSubstr(" 408 "));
  EXPECT_THAT(raw(head + "Content-Length: 99999999999\r\n\r\nabc"), HasSubstr(" 413 "));
  EXPECT_THAT(raw(head + "Content-Length: abc\r\n\r\n{}"), HasSubstr(" 400 "));
  EXPECT_THAT(raw(head + "Content-Length: -5\r\n\r\n{}"), HasSubstr(" 400 "));
  EXPECT_THAT(raw(head + "Connection: close\r\n\r\n"), HasSubstr(" 411 "));
  EXPECT_THAT(raw(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), HasSubstr(" 400 "));
  std::string chunk(4000, ' ');
  EXPECT_THAT(raw(head + "Transfer-Encoding: chunked\r\n\r\nfa0\r\n" + chunk + "\r\nfa0\r\n" + chunk + "\r\n0\r\n\r\n"),
              HasSubstr(" 413 "));
  EXPECT_THAT(raw(head + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), HasSubstr(" 4"));
  // What follows a refused body is not taken for a request.
  std::string smuggled = raw(head + "Content-Length: 99999\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(smuggled, HasSubstr(" 413 "));
  EXPECT_THAT(smuggled, testing::Not(HasSubstr("gavel_requests_total")));
  for (const std::string& bytes :
       {std::string("\r\n\r\n"), std::string("garbage\r\n\r\n"), std::string("GET\r\n\r\n"), std::string(20000, 'a'),
        std::string("\0\0\0\0", 4), std::string("GET / HTTP/9.9\r\n\r\n"),
        "GET /" + std::string(9000, 'x') + " HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + std::string("A: b\r\n") + std::string(9000, 'h') + ": x\r\n\r\n"})
    raw(bytes, 1000ms);
  EXPECT_EQ(status_of(pair()), 200);
}

TEST_F(ServiceTest, ATokenIsAskedFor) {
  ServiceOptions options;
  options.token = "secret";
  start(options);
  EXPECT_EQ(status_of(pair()), 401);
  auto with = [&](const char* value) {
    return ask("POST", "/v1/judge", {{"Authorization", value}, {"Content-Type", "application/json"}}, pair()).status;
  };
  EXPECT_EQ(with("Bearer secre"), 401);
  EXPECT_EQ(with("Bearer secrets"), 401);
  EXPECT_EQ(with("secret"), 401);
  EXPECT_EQ(with("Bearer secret"), 200);
  EXPECT_EQ(with("bearer   secret "), 200);
  EXPECT_EQ(with("Bearer %73ecret"), 401);
  EXPECT_EQ(get("/metrics").status, 401);
  EXPECT_EQ(ask("GET", "/metrics", {{"Authorization", "Bearer secret"}}).status, 200);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_THAT(get("/").body, HasSubstr("id=\"token\""));
}

TEST_F(ServiceTest, ManyClientsShareBatchesAndEachGetsItsOwnAnswer) {
  ServiceOptions options;
  options.queue.wait = 20ms;
  std::atomic<int> largest{0};
  start(options, [&](std::span<const PreferenceRow> rows) {
    largest = std::max(largest.load(), static_cast<int>(rows.size()));
    std::this_thread::sleep_for(5ms);
    return by_length(rows);
  });
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int c = 0; c < 16; ++c)
    clients.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) {
        std::string id = std::to_string(c * 100 + i);
        bool a_wins = (c + i) % 2 == 0;
        Json body = {{"id", id},
                     {"prompt", "p"},
                     {"response_a", a_wins ? "longer" : "s"},
                     {"response_b", a_wins ? "s" : "longer"}};
        const HttpReceived found = post("/v1/judge", body.dump());
        if (found.status != 200) {
          ADD_FAILURE() << "client " << c << ", request " << i << ": " << found.status << found.body;
          continue;
        }
        auto json = Json::parse(found.body);
        right += json["id"] == id && json["verdict"] == (a_wins ? "A" : "B");
      }
    });
  for (auto& thread : clients) thread.join();
  EXPECT_EQ(right, 320);
  EXPECT_GT(largest, 1);
  EXPECT_LE(largest, 8);
}

TEST_F(ServiceTest, OverloadIsToldAndNotQueuedForEver) {
  ServiceOptions options;
  options.queue = {1, 0ms, 2};
  options.http.answer_timeout = 900ms;
  start(options);
  std::vector<std::thread> clients;
  std::array<std::atomic<int>, 600> statuses{};
  for (int c = 0; c < 8; ++c)
    clients.emplace_back([&] { ++statuses[static_cast<size_t>(post("/v1/judge", pair("slow")).status)]; });
  for (auto& thread : clients) thread.join();
  EXPECT_GT(statuses[429], 0);
  EXPECT_GT(statuses[200], 0);
  EXPECT_EQ(statuses[200] + statuses[429] + statuses[504], 8);
  EXPECT_EQ(status_of(pair()), 200);
  EXPECT_EQ(status_of("[" + pair() + "," + pair() + "," + pair() + "]"), 413) << "it would never fit";
}

TEST_F(ServiceTest, AJudgeThatFailsIsTold) {
  start();
  EXPECT_EQ(status_of(pair("fail")), 500);
  EXPECT_EQ(status_of(pair()), 200);
}

TEST_F(ServiceTest, StoppingAnswersWhatWasTakenIn) {
  start();
  int status = 0;
  std::thread slow([&] { status = post("/v1/judge", pair("slow")).status; });
  std::this_thread::sleep_for(150ms);
  stop();
  slow.join();
  EXPECT_EQ(status, 200);
  EXPECT_FALSE(RawClient(service_->port()).connected());
}

TEST_F(ServiceTest, ATokenThatNoClientCouldSendIsRefused) {
  ServiceOptions options;
  options.http.port = 0;
  for (const char* token : {"a\nb", " a", "a ", "a\x7f"}) {
    options.token = token;
    EXPECT_THROW(Service(by_length, options), Error) << token;
  }
  options.token = "a b%41";
  start(options);
  EXPECT_EQ(ask("GET", "/metrics", {{"Authorization", "Bearer a b%41"}}).status, 200);
}

TEST_F(ServiceTest, OtherSitesPagesAreRefusedWhateverTheySend) {
  start();
  const std::string multipart = "multipart/form-data; boundary=B";
  for (const std::string& type : {std::string("text/plain"), multipart, std::string("application/json")})
    EXPECT_EQ(ask("POST", "/v1/judge", {{"Origin", "http://evil.example"}, {"Content-Type", type}}, pair()).status,
              403);
  EXPECT_EQ(status_of("--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nhello\r\n--B--\r\n", multipart.c_str()),
            415);
  EXPECT_EQ(
      ask("POST", "/v1/judge", {{"Origin", "http://localhost"}, {"Content-Type", "application/json"}}, pair()).status,
      200);
  EXPECT_THAT(get("/metrics").body, HasSubstr("gavel_pairs_total 1\n"));
}

TEST(Service, APortThatIsTakenIsNamed) {
  if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  ServiceOptions options;
  options.http.port = 0;
  Service first(by_length, options);
  // SO_REUSEPORT would let a second program have it, and requests would be split between both.
  options.http.port = first.port();
  EXPECT_THROW(Service(by_length, options), Error);
  // One that never ran gives its port back.
  options.http.port = 0;
  {
    Service second(by_length, options);
    options.http.port = second.port();
  }
  EXPECT_EQ(Service(by_length, options).port(), options.http.port);
}

}  // namespace
}  // namespace gavel
