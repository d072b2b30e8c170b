#include "http/server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "http/connection.h"
#include "http/server_state.h"

namespace gavel {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

/** What the process opens beside connections. */
constexpr size_t kOwnFiles = 64;

/** As many connections as the process may have files. */
size_t within_open_files(size_t connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return connections;
  const rlim_t wanted = connections + kOwnFiles;
  if (limit.rlim_cur < wanted) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max == RLIM_INFINITY ? wanted : std::min(limit.rlim_max, wanted);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur >= wanted ? connections : std::max<size_t>(limit.rlim_cur, kOwnFiles + 8) - kOwnFiles;
}

/** A connection's errors are its own; what ends here is without memory for it, or a fault of this program. */
void report(const std::exception_ptr& error) {
  if (error == nullptr) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& what) {
    spdlog::warn("serve: a connection ended: {}", what.what());
  }
}

asio::awaitable<void> hold(HttpServerState& state, tcp::socket socket) {
  HttpConnection connection(state, std::move(socket));
  co_await connection.serve();
}

asio::awaitable<void> accept(HttpServerState& state) {
  while (state.acceptor.is_open()) {
    boost::system::error_code error;
    tcp::socket socket = co_await state.acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (!state.acceptor.is_open()) break;
    if (error) {
      // Out of files or memory: make room, and let those that end give theirs back.
      state.close_the_slowest();
      asio::steady_timer pause(state.io, std::chrono::milliseconds(20));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    if (state.open.size() >= state.options.max_connections && !state.close_the_slowest()) continue;
    asio::co_spawn(state.io, hold(state, std::move(socket)), report);
  }
}

}  // namespace

const std::string& HttpHead::header(std::string_view lower_case_name) const {
  static const std::string none;
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? none : found->second;
}

HttpServerState::HttpServerState(HttpHandler& given_handler, HttpServerOptions given)
    : handler(given_handler), options(std::move(given)), names(options.allowed_hosts, options.allowed_origins) {
  name = fmt::format("{:08x}", std::random_device{}());
  options.max_connections = within_open_files(options.max_connections);
  options.max_buffered_bytes = std::max(options.max_buffered_bytes, 2 * options.max_body_bytes);
  const auto refuse = [&](const boost::system::error_code& error) {
    fail("serve: can't listen on {}:{}: {}; is another program there? (--port)", options.host, options.port,
         error.message());
  };
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) refuse(error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  // A port that a service had just now; never one that another program has.
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) refuse(error);
  port = acceptor.local_endpoint().port();
}

bool HttpServerState::close_the_slowest(bool receiving) {
  const auto slowest = std::ranges::find_if(waiting, [&](const HttpConnection* connection) {
    return !connection->closed() && (!receiving || connection->holds_bytes());
  });
  if (slowest == waiting.end()) return false;
  (*slowest)->close();
  return true;
}

void HttpServerState::drain() {
  if (draining) return;
  draining = true;
  boost::system::error_code ignored;
  acceptor.close(ignored);
  // Closing only wakes their coroutines, which leave the list later.
  for (HttpConnection* connection : open)
    if (connection->idle()) connection->close();
  if (open.empty()) return;
  grace.expires_after(options.grace);
  grace.async_wait([this](const boost::system::error_code& aborted) {
    if (aborted) return;
    spdlog::warn("serve: {} connections were closed unfinished (--grace)", open.size());
    for (HttpConnection* connection : open) connection->close();
  });
}

HttpServer::HttpServer(HttpHandler& handler, HttpServerOptions options)
    : state_(std::make_unique<HttpServerState>(handler, std::move(options))) {}

HttpServer::~HttpServer() = default;

int HttpServer::port() const {
  return state_->port;
}

void HttpServer::run() {
  asio::co_spawn(state_->io, accept(*state_), report);
  state_->io.run();
}

void HttpServer::stop() {
  asio::post(state_->io, [this] { state_->drain(); });
}

size_t HttpServer::connections() const {
  return state_->open.size();
}

}  // namespace gavel
