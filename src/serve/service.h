#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http/server.h"
#include "serve/batch_queue.h"
#include "serve/forms.h"

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
  /** What the judge reads, by which forms of questions differ. */
  JudgeKind kind = JudgeKind::kPair;
  /** FormContext::labels */
  std::vector<std::string> labels = {"A", "B", "tie"};
  /** FormContext::no_written_out */
  std::string no_written_out;
  /** What stands on the page. */
  std::string name = "judge";
  /** Called with every request that ended; on the server's thread, which waits for it. */
  std::function<void(const HttpHead&, int status, double seconds)> on_request = {};
};

/** A small HTTP service around a judge (docs/judging.md, "gavel serve"): what routes() lists. Errors are in the form of the route
 * (ErrorForm), with the statuses of HttpHandler::refusal() and 401, 404, 405, and 429 (too much at once, with Retry-After). */
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
