#pragma once
#include <memory>
#include <string>

#include "http/server.h"
#include "serve/batch_queue.h"

namespace gavel {

struct ServiceOptions {
  /** Where it listens, by which names, and the limits of requests and times. */
  HttpServerOptions http;
  /** When set, the questions and GET /metrics need "Authorization: Bearer TOKEN". */
  std::string token;
  /** Pairs in one request. */
  size_t max_pairs = 64;
  /** Requests that are judged or wait for it at once. */
  size_t max_requests = 64;
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
 * Errors are {"error": TEXT}, or what QuestionForm::errors says, with the statuses of HttpHandler::refusal() and 401, 404, 405, and
 * 429 (too much at once, with Retry-After). */
class Service {
 public:
  /** Binds the port. Throws Error when that is not possible, or when no client could send the token. */
  Service(JudgeFunction judge, ServiceOptions options);
  ~Service();

  int port() const;
  /** Serves until stop() is called from another thread, then answers what was taken in, for HttpServerOptions::grace at most, and
   * returns. */
  void run();
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/** The page of GET /. It loads nothing and talks to its own address alone. */
std::string service_page(const std::string& name, bool needs_token);

}  // namespace gavel
