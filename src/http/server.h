#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "http/handler.h"

namespace gavel {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  /** 0 = any free one, see HttpServer::port(). */
  int port = 8080;
  /** See AllowedNames. */
  std::vector<std::string> allowed_hosts, allowed_origins;
  /** A request's line and headers. */
  size_t max_header_bytes = size_t{16} << 10, max_headers = 100;
  size_t max_body_bytes = size_t{1} << 20;
  /** Open connections, and bytes of bodies that are being received, over all. At the limit the connection is closed that has
   * waited longest for its client, so that slow ones keep nobody out. */
  size_t max_connections = 1024, max_buffered_bytes = size_t{64} << 20;
  /** For a request's line and headers, from their first byte or the connection's begin; for the body after them; for the next
   * request of a connection; for the client to take an answer; for the handler to give one. */
  std::chrono::milliseconds header_timeout{10000}, body_timeout{10000}, idle_timeout{60000}, write_timeout{20000},
      answer_timeout{60000};
  /** After stop(), how long requests that were taken in may still take. */
  std::chrono::milliseconds grace{10000};
};

struct HttpServerState;

/** HTTP/1.1 and 1.0 for one handler, on one thread, on Boost.Beast. What it holds to:
 * - nothing grows with what a client sends: lines, headers, bodies, connections and times are bounded;
 * - a request has one reading or none: two lengths, a length beside chunks, encodings other than "chunked", a missing or second
 *   Host are 400, and then, or where a body was not read to its end, the connection is closed;
 * - requests that are sent ahead (pipelining) are answered in order;
 * - names and origins that are not allowed are 421 and 403; pages of other sites are answered (CORS) where that was asked for. */
class HttpServer {
 public:
  /** Binds the port; `handler` must outlive this. Throws Error when it can't be bound. */
  HttpServer(HttpHandler& handler, HttpServerOptions options);
  ~HttpServer();

  int port() const;
  /** Serves until stop() is called from another thread, then until all that was taken in is answered, at most for `grace`. */
  void run();
  void stop();
  /** Open connections; on the server's thread. */
  size_t connections() const;

 private:
  std::unique_ptr<HttpServerState> state_;
};

}  // namespace gavel
