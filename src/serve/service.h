#pragma once
#include <chrono>
#include <memory>
#include <string>

#include "serve/batch_queue.h"

namespace gavel {

struct ServiceOptions {
  std::string host = "127.0.0.1";
  /** 0 = any free one, see Service::port(). */
  int port = 8080;
  /** When set, POST /v1/judge and GET /metrics need "Authorization: Bearer TOKEN". */
  std::string token;
  size_t max_body_bytes = size_t{1} << 20;
  /** Pairs in one request. */
  size_t max_pairs = 64;
  /** Requests to judge at once, and connections at once. */
  size_t max_requests = 64, max_connections = 128;
  /** Time for a request's body to arrive, and for its answer. */
  std::chrono::milliseconds body_timeout{10000}, answer_timeout{60000};
  BatchQueueOptions queue;
  /** Whether the judge has rewards, which some forms of questions need. */
  bool rewards = false;
  /** What stands on the page. */
  std::string name = "judge";
};

/** A small HTTP service around a judge (docs/judging.md, "gavel serve"):
 *   GET /            a page to paste a prompt and two answers into
 *   POST             the questions of forms.h: /v1/judge, and of a reward /rerank, /score, /classify, /pooling, /get_reward
 *   GET /health      {"status": "ok"}; 503 while stopping
 *   GET /metrics     Prometheus text
 * Errors are {"error": TEXT}, or what QuestionForm::errors says, with 400, 401, 404, 405, 408 (the body was too slow), 411, 413, 415, 429 (too much at
 * once, with Retry-After), 500, 503 (stopping), 504 (the judge was too slow). */
class Service {
 public:
  /** Binds the port. Throws Error when that is not possible. */
  Service(JudgeFunction judge, ServiceOptions options);
  ~Service();

  int port() const;
  /** Serves until stop() is called from another thread, then answers what was taken in, and returns. */
  void run();
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/** The page of GET /. It loads nothing and talks to its own address alone. */
std::string service_page(const std::string& name, bool needs_token);

}  // namespace gavel
