#include "serve/routes.h"

#include "judge/pair_json.h"
#include "serve/class_forms.h"
#include "serve/form_parts.h"
#include "serve/reward_forms.h"

namespace gavel {

namespace {

Question read_pairs(std::string_view body, const FormContext& context) {
  Question question;
  question.rows = pairs_from_json(body, context.most_pairs);
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

constexpr const char* kPairExample = R"({"prompt": "2 + 2?", "response_a": "4", "response_b": "5"})";
constexpr const char* kRerankExample = R"({"query": "2 + 2?", "documents": ["5", "4"], "top_n": 1})";
constexpr const char* kScoreExample = R"({"text_1": "2 + 2?", "text_2": ["4", "5"]})";
constexpr const char* kClassifyExample =
    R"({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}]})";
constexpr const char* kRewardMessages =
    R"({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})";

Route post(const char* path, Question (*read)(std::string_view, const FormContext&), ErrorForm errors,
           const char* tag) {
  Route route;
  route.path = path;
  route.read = read;
  route.errors = errors;
  route.tag = tag;
  return route;
}

Route get(const char* path, Page page, ErrorForm errors, const char* summary, const char* answer, bool open) {
  Route route;
  route.path = path;
  route.page = page;
  route.errors = errors;
  route.tag = "service";
  route.summary = summary;
  route.answer = answer;
  route.open = open;
  return route;
}

void describe(Route& route, const char* summary, const char* request, const char* answer, const char* example,
              const char* reward_example) {
  route.summary = summary;
  route.request = request;
  route.answer = answer;
  route.example = example;
  route.reward_example = reward_example;
  route.needs_rewards = *example == '\0';
}

std::vector<Route> all_routes() {
  std::vector<Route> all;
  Route& judge = all.emplace_back(post("/v1/judge", read_pairs, ErrorForm::kText, "Gavel"));
  describe(judge, "Which of two answers is better: a pair, or a list of pairs", "PairOrPairs", "VerdictOrVerdicts",
           kPairExample, kPairExample);
  for (const char* path : {"/classify", "/v1/classify"}) {
    Route& route = all.emplace_back(post(path, read_classify, ErrorForm::kServer, "vLLM, SGLang"));
    describe(route, "Pairs or answers as a model that tells classes sees them", "ClassifyRequest", "ClassifyAnswer",
             kClassifyExample, kRewardMessages);
  }
  Route& predict = all.emplace_back(post("/predict", read_predict, ErrorForm::kTyped, "text-embeddings-inference"));
  describe(predict, "Pairs or answers as a model that tells classes sees them", "PredictRequest", "PredictAnswer",
           R"({"inputs": [["2 + 2?", "4", "5"]]})", R"({"inputs": [["2 + 2?", "4"]]})");
  Route& pooling = all.emplace_back(post("/pooling", read_pooling, ErrorForm::kServer, "vLLM, SGLang"));
  describe(pooling, "Rewards of conversations", "ClassifyRequest", "PoolingAnswer", "", kRewardMessages);
  for (const char* path : {"/rerank", "/v1/rerank"}) {
    Route& route = all.emplace_back(post(path, read_rerank, ErrorForm::kServer, "Jina, Cohere, vLLM"));
    describe(route, "Answers to one prompt, the best reward first", "RerankRequest", "RerankAnswer", "",
             kRerankExample);
  }
  for (const char* path : {"/score", "/v1/score"}) {
    Route& route = all.emplace_back(post(path, read_score, ErrorForm::kServer, "vLLM, SGLang"));
    describe(route, "Rewards of answers to prompts", "ScoreRequest", "ScoreAnswer", "", kScoreExample);
  }
  Route& reward = all.emplace_back(post("/get_reward", read_get_reward, ErrorForm::kText, "RL trainers"));
  describe(reward, "Rewards of answers; with a judge, of answers against references", "GetRewardRequest",
           "GetRewardAnswer", R"({"prompt": ["2 + 2?"], "response": ["4"], "reference": ["It is 4."]})",
           R"({"prompt": ["2 + 2?"], "response": ["4"]})");
  all.push_back(
      get("/v1/models", Page::kModels, ErrorForm::kServer, "The judge, as OpenAI's list of models", "Models", false));
  all.push_back(
      get("/", Page::kForm, ErrorForm::kText, "A page to paste a prompt and two answers into", "text/html", true));
  all.push_back(get("/health", Page::kHealth, ErrorForm::kText, "Whether questions are taken; 503 while stopping",
                    "Health", true));
  all.push_back(get("/metrics", Page::kMetrics, ErrorForm::kText, "Counts for Prometheus", "text/plain", false));
  all.push_back(get("/openapi.json", Page::kOpenApi, ErrorForm::kText, "This document", "OpenApi", true));
  return all;
}

}  // namespace

std::span<const Route> routes() {
  static const std::vector<Route> kAll = all_routes();
  return kAll;
}

const Route* route_at(std::string_view path) {
  for (const Route& route : routes())
    if (route.path == path) return &route;
  return nullptr;
}

ErrorForm error_form_at(std::string_view path) {
  if (const Route* route = route_at(path)) return route->errors;
  return path.starts_with("/v1/") ? ErrorForm::kServer : ErrorForm::kText;
}

}  // namespace gavel
