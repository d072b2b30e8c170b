#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <memory>
#include <optional>

#include "http/server_state.h"

namespace gavel {

/** One client, from its connection to its end. Lives in the frame of the coroutine that runs serve(). */
class HttpConnection {
 public:
  HttpConnection(HttpServerState& server, boost::asio::ip::tcp::socket socket);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  /** Request after request, in order, until one side has enough. */
  boost::asio::awaitable<void> serve();
  /** From outside the coroutine, whose operation then ends with an error. */
  void close();
  /** Whether nothing of a request has come yet. */
  bool idle() const { return idle_; }
  bool closed() const { return closed_; }
  /** Whether a body is being received. */
  bool holds_bytes() const { return held_ > 0; }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  using Failure = boost::system::error_code;
  /** Why a request is refused; `closed` where the client is gone and needs no answer. */
  struct Refusal {
    int status = 400;
    std::string why;
    bool closed = false;
  };
  class Waiting;
  class Deadline;

  /** Gives back what a body held, once it is whole or given up. */
  class Held;

  /** A question to the handler. */
  struct Pending;

  boost::asio::awaitable<std::optional<Refusal>> read_head(Parser& parser);
  std::optional<Refusal> check_head(const Parser& parser);
  boost::asio::awaitable<std::optional<Refusal>> read_body(Parser& parser, std::string& body);
  boost::asio::awaitable<HttpAnswer> ask(std::string body);
  /** What a request is answered. Sets `more`: whether the connection may go on after it, and `gone`: whether the client is. */
  boost::asio::awaitable<HttpAnswer> answer_to(Parser& parser, bool& more, bool& gone);
  boost::asio::awaitable<bool> answer_one(bool& more);
  void fill(boost::beast::http::response_header<>& header, const HttpAnswer& answer) const;
  boost::asio::awaitable<bool> write(HttpAnswer answer, bool more);
  boost::asio::awaitable<void> let_client_read();

  HttpServerState& server_;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<Deadline> deadline_;
  boost::beast::flat_buffer buffer_;
  std::list<HttpConnection*>::iterator place_;
  /** Of the request at hand. */
  HttpHead head_;
  unsigned version_ = 11;
  std::chrono::steady_clock::time_point begun_;
  bool idle_ = true, closed_ = false;
  /** Its part of State::buffered. */
  size_t held_ = 0;
  /** Wakes ask() when a reply is there, or when close() is called. */
  boost::asio::steady_timer* asked_ = nullptr;
};

}  // namespace gavel
