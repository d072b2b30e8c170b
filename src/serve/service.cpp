#include "serve/service.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "serve/forms.h"
#include "serve/service_metrics.h"

namespace gavel {

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/** Takes as long for a wrong token as for a right one. */
bool same_secret(const std::string& given, const std::string& secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < secret.size(); ++i)
    difference |= static_cast<unsigned>(static_cast<unsigned char>(secret[i]) ^
                                        static_cast<unsigned char>(i < given.size() ? given[i] : 0));
  return difference == 0;
}

/** Bodies up to this many times the limit are read to their end, so that the client sees why they are
 * refused. */
constexpr size_t kDrain = 4;

/** An answer that ends a request early. */
struct Refusal {
  int status;
  std::string why;
};

}  // namespace

struct Service::State {
  State(JudgeFunction judge, ServiceOptions given)
      : options(std::move(given)),
        queue(std::move(judge), options.queue),
        page(service_page(options.name, !options.token.empty())) {}

  void add_routes();
  void judge(const QuestionForm& form, const httplib::Request& request, httplib::Response& response,
             const httplib::ContentReader& read);
  std::string read_body(const httplib::ContentReader& read, Clock::time_point start, bool& whole);
  std::string answer(const QuestionForm& form, const std::string& body, Clock::time_point start);
  void check_token(const httplib::Request& request) const;

  ServiceOptions options;
  BatchQueue queue;
  ServiceMetrics metrics;
  std::string page;
  std::atomic<size_t> active{0};
  /** For the names of requests: when the service began, and the questions since. */
  const int64_t started = static_cast<int64_t>(wall_seconds());
  std::atomic<uint64_t> asked{0};
  std::atomic<bool> draining{false};
  int port = 0;
  socket_t listener = INVALID_SOCKET;  // the library closes it, but only at the end of a run
  bool ran = false;
  httplib::Server server;
};

namespace {

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

void answer_error(httplib::Response& response, int status, const std::string& why, ErrorForm form = ErrorForm::kText) {
  response.status = status;
  if (status == 429 || status == 503) response.set_header("Retry-After", "1");
  if (status == 401) response.set_header("WWW-Authenticate", "Bearer");
  Json error = why;
  if (form == ErrorForm::kServer)
    error = {{"message", why}, {"type", error_type(status)}, {"param", nullptr}, {"code", status}};
  response.set_content(dump({{"error", error}}) + "\n", "application/json");
}

/** Sends the answer that is set and closes the connection: the rest of a body that was not read must not be
 * taken for a next request. The library closes when a content provider gives up, which it does here once all
 * is sent. */
void close_after(httplib::Response& response) {
  std::string body = std::move(response.body);
  response.body.clear();
  response.set_header("Connection", "close");
  response.set_content_provider(body.size(), "application/json",
                                [body](size_t offset, size_t length, httplib::DataSink& sink) {
                                  sink.write(body.data() + offset, length);
                                  return false;
                                });
}

}  // namespace

void Service::State::check_token(const httplib::Request& request) const {
  if (options.token.empty()) return;
  std::string given = request.get_header_value("Authorization");
  const std::string scheme = "Bearer ";
  if (given.starts_with(scheme) && same_secret(given.substr(scheme.size()), options.token)) return;
  throw Refusal{401, given.empty() ? "this service needs a token: send \"Authorization: Bearer TOKEN\""
                                   : "the token is not the right one"};
}

namespace {

/** What is known of a body before it is read. */
struct BodyHead {
  /** Its length; none when it comes in chunks. */
  std::optional<size_t> length;
  /** Its end can be found within `most` bytes, so the next request begins after it. */
  bool bounded = false;
  std::optional<Refusal> refusal;

  BodyHead(const httplib::Request& request, size_t most) {
    std::string text = request.get_header_value("Content-Length");
    if (!request.has_header("Content-Length")) {
      bounded = request.get_header_value("Transfer-Encoding") == "chunked";
      if (!bounded) refusal = Refusal{411, "a body needs Content-Length or chunked encoding"};
    } else if (text.empty() || text.size() > 15 || text.find_first_not_of("0123456789") != std::string::npos) {
      refusal = Refusal{400, "Content-Length is no usable number"};
    } else {
      length = std::stoull(text);
      bounded = *length <= kDrain * most;
      if (*length > most)
        refusal = Refusal{413, fmt::format("the body has {} bytes, at most {} are taken", text, most)};
    }
  }
};

}  // namespace

std::string Service::State::read_body(const httplib::ContentReader& read, Clock::time_point start, bool& whole) {
  auto deadline = start + options.body_timeout;
  bool late = false, large = false;
  size_t discarded = 0;
  std::string body;
  whole = read([&](const char* data, size_t size) {
    late = late || Clock::now() > deadline;
    large = large || body.size() + size > options.max_body_bytes;
    if (late) return false;
    if (!large) {
      body.append(data, size);
      return true;
    }
    // A client that is still sending reads the answer only afterwards.
    discarded += size;
    return discarded < kDrain * options.max_body_bytes;
  });
  if (large) throw Refusal{413, fmt::format("the body is larger than {} bytes", options.max_body_bytes)};
  // The library stops reading when nothing comes for the read timeout.
  if (late || (!whole && Clock::now() > start + options.body_timeout / 2))
    throw Refusal{408, "the body did not arrive in time"};
  if (!whole) throw Refusal{400, "the body could not be read: its length, chunks or compression are broken"};
  return body;
}

std::string Service::State::answer(const QuestionForm& form, const std::string& body, Clock::time_point start) {
  if (form.needs_rewards && !options.rewards)
    throw Refusal{404, fmt::format("{} is for rewards; this judge reads pairs: POST /v1/judge", form.path)};
  Question question;
  try {
    FormContext context{options.max_pairs, options.name, fmt::format("{:x}-{}", started, ++asked),
                        static_cast<int64_t>(wall_seconds())};
    question = form.read(body, context);
  } catch (const Error& error) {
    throw Refusal{400, error.what()};
  }
  auto deadline = start + options.answer_timeout;
  auto future = queue.submit(std::move(question.rows), deadline);
  if (!future) throw Refusal{429, "too many pairs are waiting; try again in a moment"};
  if (future->wait_until(deadline) != std::future_status::ready) throw Refusal{504, "the judge did not answer in time"};
  std::vector<Verdict> verdicts;
  try {
    verdicts = future->get();
  } catch (const std::future_error&) {
    throw Refusal{504, "the judge did not come to it in time"};
  } catch (const std::exception& error) {
    throw Refusal{500, fmt::format("the judge failed: {}", error.what())};
  }
  return dump(question.answer(verdicts)) + "\n";
}

void Service::State::judge(const QuestionForm& form, const httplib::Request& request, httplib::Response& response,
                           const httplib::ContentReader& read) {
  auto start = Clock::now();
  struct Active {
    std::atomic<size_t>& count;
    size_t number = ++count;
    ~Active() { --count; }
  } own{active};
  const BodyHead head(request, options.max_body_bytes);
  bool touched = false, whole = false;
  try {
    if (draining) throw Refusal{503, "the service is shutting down"};
    check_token(request);
    // Pages of other sites can only send other types without asking first.
    if (!request.get_header_value("Content-Type").starts_with("application/json"))
      throw Refusal{415, "expected Content-Type: application/json"};
    if (own.number > options.max_requests) throw Refusal{429, "too many requests at once; try again in a moment"};
    if (head.refusal) throw *head.refusal;
    touched = true;
    std::string body = read_body(read, start, whole);
    response.set_content(answer(form, body, start), "application/json");
    response.status = 200;
  } catch (const Refusal& refusal) {
    answer_error(response, refusal.status, refusal.why, form.errors);
  }
  metrics.count(response.status, std::chrono::duration<double>(Clock::now() - start).count());
  if (!touched && head.bounded) {
    auto until = Clock::now() + std::chrono::seconds(1);
    size_t discarded = 0;
    int status = response.status;
    whole = read([&](const char*, size_t size) {
      discarded += size;
      return discarded <= kDrain * options.max_body_bytes && Clock::now() < until;
    });
    response.status = status;
  }
  if (!whole) close_after(response);
}

void Service::State::add_routes() {
  for (const QuestionForm& form : question_forms()) {
    auto other_method = [errors = form.errors](const httplib::Request&, httplib::Response& response) {
      answer_error(response, 405, "POST a JSON question here", errors);
      response.set_header("Allow", "POST");
    };
    server.Post(form.path, [this, &form](const httplib::Request& request, httplib::Response& response,
                                         const httplib::ContentReader& read) { judge(form, request, response, read); });
    server.Get(form.path, other_method);
    server.Put(form.path, other_method);
    server.Patch(form.path, other_method);
    server.Delete(form.path, other_method);
    server.Options(form.path, other_method);
  }
  server.Get("/", [this](const httplib::Request&, httplib::Response& response) {
    response.set_header(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    response.set_content(page, "text/html; charset=utf-8");
  });
  server.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
    if (draining) {
      answer_error(response, 503, "the service is shutting down");
      return;
    }
    response.set_content("{\"status\":\"ok\"}\n", "application/json");
  });
  server.Get("/metrics", [this](const httplib::Request& request, httplib::Response& response) {
    try {
      check_token(request);
      response.set_content(metrics.text(queue.counts(), active), "text/plain; version=0.0.4; charset=utf-8");
    } catch (const Refusal& refusal) {
      answer_error(response, refusal.status, refusal.why);
    }
  });
  server.set_error_handler(httplib::Server::HandlerWithResponse([](const httplib::Request&,
                                                                   httplib::Response& response) {
    if (response.body.empty() && !response.content_provider_)
      answer_error(response, response.status,
                   response.status == 404 ? "there is nothing here; see /v1/judge, /health, /metrics" : "bad request");
    return httplib::Server::HandlerResponse::Handled;
  }));
  server.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
    answer_error(response, 500, "internal error");
  });
  server.set_default_headers(
      {{"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-store"}, {"Referrer-Policy", "no-referrer"}});
  // The library's own options let two programs share a port, which then splits requests between them.
  server.set_socket_options([this](socket_t socket) {
    int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    listener = socket;
  });
  server.set_keep_alive_max_count(1000);
  server.set_keep_alive_timeout(5);
  server.set_tcp_nodelay(true);
  // A client that sends nothing for this long is cut off; one that sends slowly, at body_timeout.
  server.set_read_timeout(std::max<std::chrono::milliseconds>(options.body_timeout, std::chrono::milliseconds(1)));
  server.set_write_timeout(5);
  server.set_payload_max_length((kDrain + 1) * options.max_body_bytes);
  server.new_task_queue = [count = options.max_connections] { return new httplib::ThreadPool(count); };
}

Service::Service(JudgeFunction judge, ServiceOptions options)
    : state_(std::make_unique<State>(std::move(judge), std::move(options))) {
  State& s = *state_;
  s.add_routes();
  bool bound = true;
  if (s.options.port == 0) {
    s.port = s.server.bind_to_any_port(s.options.host);
    bound = s.port > 0;
  } else {
    s.port = s.options.port;
    bound = s.server.bind_to_port(s.options.host, s.port);
  }
  if (!bound)
    fail("serve: can't listen on {}:{}: {}; is another program there? (--port)", s.options.host, s.options.port,
         std::strerror(errno));
  // The library lets five connections wait to be accepted. Linux drops what comes beyond: the client thinks
  // it is connected and waits for seconds.
  if (::listen(s.listener, SOMAXCONN) != 0)
    fail("serve: {}:{}: listen: {}", s.options.host, s.port, std::strerror(errno));
}

Service::~Service() {
  if (!state_->ran) ::close(state_->listener);
}

int Service::port() const {
  return state_->port;
}

void Service::run() {
  state_->ran = true;
  state_->server.listen_after_bind();
}

void Service::stop() {
  state_->draining = true;
  state_->server.stop();
}

}  // namespace gavel
