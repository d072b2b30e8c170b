#include "serve/service.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/trimmed.h"
#include "http/allowed_names.h"
#include "serve/openapi.h"
#include "serve/routes.h"
#include "serve/service_metrics.h"

namespace gavel {

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/** Takes as long for a wrong token as for a right one. */
bool same_secret(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < secret.size(); ++i)
    difference |= static_cast<unsigned>(static_cast<unsigned char>(secret[i]) ^
                                        static_cast<unsigned char>(i < given.size() ? given[i] : 0));
  return difference == 0;
}

/** An answer that ends a request early. */
struct Refusal {
  int status;
  std::string why;
};

/** What vLLM calls a refusal. */
const char* error_type(int status) {
  switch (status) {
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 429:
      return "RateLimitError";
    case 500:
      return "InternalServerError";
    case 503:
      return "ServiceUnavailableError";
    case 504:
      return "TimeoutError";
    default:
      return "BadRequestError";
  }
}

/** What text-embeddings-inference calls it. */
const char* typed_error(int status) {
  if (status == 429) return "Overloaded";
  if (status == 503) return "Unhealthy";
  return status == 500 || status == 504 ? "Backend" : "Validation";
}

HttpAnswer error_answer(int status, const std::string& why, ErrorForm form) {
  HttpAnswer answer;
  answer.status = status;
  if (status == 429 || status == 503) answer.headers.emplace_back("Retry-After", "1");
  if (status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  Json body = {{"error", why}};
  if (form == ErrorForm::kServer)
    body["error"] = {{"message", why}, {"type", error_type(status)}, {"param", nullptr}, {"code", status}};
  if (form == ErrorForm::kTyped) body["error_type"] = typed_error(status);
  answer.body = dump(body) + "\n";
  return answer;
}

}  // namespace

struct Service::State final : HttpHandler {
  State(JudgeFunction judge, ServiceOptions given)
      : options(std::move(given)),
        page(service_page(options.name, !options.token.empty())),
        server(*this, options.http),
        queue(std::move(judge), options.queue) {}

  std::optional<HttpAnswer> on_head(const HttpHead& head) override;
  void on_body(const HttpHead& head, std::string body, HttpReply reply) override;
  HttpAnswer refusal(const HttpHead& head, int status, const std::string& why) override;
  void on_end(const HttpHead& head, int status, double seconds) override;

  void ask(const HttpHead& head, const Route& route, const std::string& body, HttpReply reply);
  HttpAnswer page_of(Page page) const;
  void check_token(const HttpHead& head) const;

  ServiceOptions options;
  ServiceMetrics metrics;
  std::string page;
  /** Requests whose pairs are judged or wait for it; used by the queue's thread too. */
  std::atomic<size_t> active{0};
  /** When the service began, in seconds since 1970. */
  const int64_t started = static_cast<int64_t>(wall_seconds());
  HttpServer server;
  BatchQueue queue;  // behind the server, which its callbacks reach
};

void Service::State::check_token(const HttpHead& head) const {
  if (options.token.empty()) return;
  constexpr std::string_view scheme = "bearer ";
  const std::string_view given = head.header("authorization");
  if (given.size() > scheme.size() && lower_case(given.substr(0, scheme.size())) == scheme &&
      same_secret(trimmed(given.substr(scheme.size()), " \t"), options.token))
    return;
  throw Refusal{401, given.empty() ? "this service needs a token: send \"Authorization: Bearer TOKEN\""
                                   : "the token is not the right one"};
}

HttpAnswer Service::State::page_of(Page which) const {
  HttpAnswer answer;
  switch (which) {
    case Page::kForm:
      answer.type = "text/html; charset=utf-8";
      answer.headers.emplace_back(
          "Content-Security-Policy",
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
      answer.body = page;
      break;
    case Page::kHealth:
      answer.body = "{\"status\":\"ok\"}\n";
      break;
    case Page::kMetrics:
      answer.type = "text/plain; version=0.0.4; charset=utf-8";
      answer.body = metrics.text(queue.counts(), active, server.connections());
      break;
    case Page::kModels: {
      const Json model = {{"id", options.name}, {"object", "model"}, {"created", started}, {"owned_by", "gavel"}};
      answer.body = dump({{"object", "list"}, {"data", Json::array({model})}}) + "\n";
      break;
    }
    case Page::kOpenApi: {
      static const std::string kDocument = dump(openapi_document()) + "\n";
      answer.body = kDocument;
      break;
    }
    case Page::kNone:
      break;
  }
  return answer;
}

std::optional<HttpAnswer> Service::State::on_head(const HttpHead& head) {
  try {
    const Route* route = route_at(head.path);
    if (route == nullptr) throw Refusal{404, "there is nothing here; GET /openapi.json has all that is"};
    const bool page = route->read == nullptr;
    if (page ? head.method != "GET" && head.method != "HEAD" : head.method != "POST") {
      HttpAnswer answer = refusal(head, 405, page ? "GET this" : "POST a JSON question here");
      answer.headers.emplace_back("Allow", page ? "GET, HEAD" : "POST");
      return answer;
    }
    if (!route->open) check_token(head);
    if (page) return page_of(route->page);
    // Pages of other sites can only send other types without asking first.
    const std::string& type = head.header("content-type");
    if (lower_case(trimmed(std::string_view(type).substr(0, type.find(';')), " \t")) != "application/json")
      throw Refusal{415, "expected Content-Type: application/json"};
    if (route->needs_rewards && options.kind != JudgeKind::kReward)
      throw Refusal{404, fmt::format("{} is for rewards; this judge reads pairs: POST /v1/judge", route->path)};
    return std::nullopt;
  } catch (const Refusal& refused) {
    return refusal(head, refused.status, refused.why);
  }
}

void Service::State::on_body(const HttpHead& head, std::string body, HttpReply reply) {
  try {
    ask(head, *route_at(head.path), body, reply);
  } catch (const Refusal& refused) {
    reply(refusal(head, refused.status, refused.why));
  }
}

void Service::State::ask(const HttpHead& head, const Route& route, const std::string& body, HttpReply reply) {
  if (active >= options.max_requests) throw Refusal{429, "too many requests at once; try again in a moment"};
  Question question;
  try {
    FormContext context{
        options.max_pairs, options.name,          head.id, static_cast<int64_t>(wall_seconds()), options.kind,
        options.labels,    options.no_written_out};
    question = route.read(body, context);
  } catch (const Error& error) {
    throw Refusal{400, error.what()};
  }
  if (question.rows.size() > options.queue.capacity)
    throw Refusal{413, fmt::format("{} pairs at once, and no more than {} may wait (--queue)", question.rows.size(),
                                   options.queue.capacity)};
  // Counts the request for as long as the queue holds it, whoever still waits for its answer.
  const std::shared_ptr<void> counted(nullptr, [this](void*) { --active; });
  ++active;
  auto done = [counted, errors = route.errors, answer = std::move(question.answer),
               reply](const BatchQueue::Outcome& outcome) {
    if (!outcome.judged) return reply(error_answer(504, "the judge did not come to it in time", errors));
    try {
      if (outcome.error) std::rethrow_exception(outcome.error);
      HttpAnswer given;
      given.body = dump(answer(outcome.verdicts)) + "\n";
      reply(std::move(given));
    } catch (const std::exception& error) {
      reply(error_answer(500, fmt::format("the judge failed: {}", error.what()), errors));
    }
  };
  if (!queue.submit(std::move(question.rows), Clock::now() + options.http.answer_timeout, std::move(done)))
    throw Refusal{429, "too many pairs are waiting; try again in a moment"};
}

HttpAnswer Service::State::refusal(const HttpHead& head, int status, const std::string& why) {
  return error_answer(status, why, error_form_at(head.path));
}

void Service::State::on_end(const HttpHead& head, int status, double seconds) {
  if (const Route* route = route_at(head.path); route != nullptr && route->read != nullptr)
    metrics.count(route->path, status, seconds);
  if (options.on_request) options.on_request(head, status, seconds);
}

namespace {

ServiceOptions checked(ServiceOptions options) {
  // A header can't carry these, and what stands around it is taken off.
  for (const char c : options.token)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      fail("serve: the token has a control character or a second line, which no client could send");
  if (trimmed(options.token, " \t") != options.token)
    fail("serve: the token begins or ends with a blank, which no client could send");
  // Those that are judged must leave room for others.
  options.http.max_connections = std::max(options.http.max_connections, options.max_requests + 16);
  return options;
}

}  // namespace

Service::Service(JudgeFunction judge, ServiceOptions options)
    : state_(std::make_unique<State>(std::move(judge), checked(std::move(options)))) {}

Service::~Service() = default;

int Service::port() const {
  return state_->server.port();
}

void Service::run() {
  state_->server.run();
  state_->queue.abandon();  // nobody waits any more
}

void Service::stop() {
  state_->server.stop();
}

}  // namespace gavel
