#include "http/connection.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <ctime>
#include <limits>
#include <memory>

#include "base/log.h"

namespace gavel {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

using Clock = std::chrono::steady_clock;

/** Bodies that were refused are read on for this long, and up to this many of the largest body: a client that still sends reads
 * the answer only afterwards. */
constexpr std::chrono::milliseconds kLetReadTime{2000};
constexpr size_t kLetReadBodies = 4;

/** How much room a body gets at once; it is given what it needs as it arrives, not what it says it will need. */
constexpr size_t kBodyStep = size_t{16} << 10;

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

/** A token for co_await with which an operation says how it ended and does not throw. */
auto into(boost::system::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

/** For destructors. */
void cancel_quietly(asio::steady_timer& timer) noexcept {
  try {
    timer.cancel();
  } catch (const std::exception&) {  // says the signature; there is nothing in it that could fail
  }
}

/** A request's target without its query, of "/path?query" or "http://host/path"; `authority` is the latter's host. */
std::string path_of(std::string_view target, std::string& authority) {
  if (const size_t scheme = target.find("://"); scheme != std::string_view::npos && !target.starts_with('/')) {
    const size_t end = target.find_first_of("/?", scheme + 3);
    authority = target.substr(scheme + 3, end == std::string_view::npos ? end : end - scheme - 3);
    target = end == std::string_view::npos ? "/" : target.substr(end);
    if (target.starts_with('?')) return "/";
  }
  return std::string(target.substr(0, target.find('?')));
}

/** Whether a request's name may be given back and logged as it is. */
bool usable_id(std::string_view id) {
  constexpr size_t kMost = 128;
  return !id.empty() && id.size() <= kMost && std::ranges::all_of(id, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("._:/+=@~-").find(c) != std::string_view::npos;
  });
}

}  // namespace

/** While the client is waited for, the connection may be closed for others' sake. */
class HttpConnection::Waiting {
 public:
  explicit Waiting(HttpConnection& connection)
      : list_(connection.server_.waiting), place_(list_.insert(list_.end(), &connection)) {}
  ~Waiting() { list_.erase(place_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  std::list<HttpConnection*>& list_;
  std::list<HttpConnection*>::iterator place_;
};

/** The time until which the socket's operations may take. They are cancelled then and the connection stays open, so that the client
 * can be told (beast::tcp_stream closes it). */
class HttpConnection::Deadline {
 public:
  explicit Deadline(tcp::socket& socket) : shared_(std::make_shared<Shared>(&socket)) {}
  ~Deadline() {
    shared_->socket = nullptr;
    cancel_quietly(shared_->timer);
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  void set(std::chrono::milliseconds after) {
    shared_->passed = false;
    ++shared_->turn;
    wait(shared_, after);
  }
  bool passed() const { return shared_->passed; }

 private:
  struct Shared {
    explicit Shared(tcp::socket* of) : socket(of), timer(of->get_executor()) {}
    tcp::socket* socket;
    asio::steady_timer timer;
    /** A wait that has just ended can't be cancelled any more: this tells it from the one that counts. */
    uint64_t turn = 0;
    bool passed = false;
  };

  static void wait(const std::shared_ptr<Shared>& shared, std::chrono::milliseconds after) {
    shared->timer.expires_after(after);
    shared->timer.async_wait([shared, turn = shared->turn](const boost::system::error_code& aborted) {
      if (aborted || shared->socket == nullptr || shared->turn != turn) return;
      shared->passed = true;
      boost::system::error_code ignored;
      shared->socket->cancel(ignored);
      // Again, until it is noticed: an operation of several reads may have been between two of them.
      wait(shared, kAgain);
    });
  }

  static constexpr std::chrono::milliseconds kAgain{20};
  std::shared_ptr<Shared> shared_;
};

class HttpConnection::Held {
 public:
  explicit Held(HttpConnection& connection) : connection_(connection) {}
  ~Held() {
    connection_.server_.buffered -= connection_.held_;
    connection_.held_ = 0;
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  HttpConnection& connection_;
};

struct HttpConnection::Pending {
  explicit Pending(asio::io_context& io) : wake(io) {}
  asio::steady_timer wake;
  std::optional<HttpAnswer> answer;
};

HttpConnection::HttpConnection(HttpServerState& server, tcp::socket socket)
    : server_(server),
      socket_(std::move(socket)),
      deadline_(std::make_unique<Deadline>(socket_)),
      buffer_(server.options.max_header_bytes + kBodyStep),
      place_(server.open.insert(server.open.end(), this)) {
  boost::system::error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
}

HttpConnection::~HttpConnection() {
  server_.open.erase(place_);
  if (server_.draining && server_.open.empty()) cancel_quietly(server_.grace);
}

void HttpConnection::close() {
  closed_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  if (asked_ != nullptr) asked_->cancel();
}

asio::awaitable<std::optional<HttpConnection::Refusal>> HttpConnection::read_head(Parser& parser) {
  const HttpServerOptions& options = server_.options;
  const Waiting waiting(*this);
  Failure error;
  if (buffer_.size() == 0) {
    const size_t read = co_await socket_.async_read_some(buffer_.prepare(kBodyStep), into(error));
    if (error) co_return Refusal{408, "no request came", true};
    buffer_.commit(read);
  }
  idle_ = false;
  begun_ = Clock::now();
  deadline_->set(options.header_timeout);
  parser.header_limit(static_cast<uint32_t>(options.max_header_bytes));
  parser.body_limit(std::numeric_limits<uint64_t>::max());  // read_body() has the limit, and a text that says so
  co_await http::async_read_header(socket_, buffer_, parser, into(error));
  // What was read of a head that has faults says where an answer would go: the path decides how errors are written.
  std::string authority;
  head_.method = view(parser.get().method_string());
  head_.path = path_of(view(parser.get().target()), authority);
  if (!error) co_return std::nullopt;
  if (deadline_->passed()) co_return Refusal{408, "the request's headers did not arrive in time"};
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    co_return Refusal{431,
                      fmt::format("the request's line and headers have more than {} bytes", options.max_header_bytes)};
  if (error == http::error::bad_version) co_return Refusal{505, "expected version 1.1 or 1.0 of HTTP"};
  if (error.category() != http::make_error_code(http::error::bad_method).category())
    co_return Refusal{400, "the connection ended", true};
  if (error == http::error::end_of_stream || error == http::error::partial_message)
    co_return Refusal{400, "the connection ended", true};
  co_return Refusal{400, "this is no HTTP request: " + error.message()};
}

std::optional<HttpConnection::Refusal> HttpConnection::check_head(const Parser& parser) {
  const auto& fields = parser.get();
  version_ = fields.version();
  if (version_ != 10 && version_ != 11) return Refusal{505, "expected version 1.1 or 1.0 of HTTP"};
  size_t count = 0;
  for (const auto& field : fields) {
    std::string& value = head_.headers[lower_case(view(field.name_string()))];
    if (!value.empty()) value += ", ";
    value += view(field.value());
    ++count;
  }
  if (const std::string& id = head_.header("x-request-id"); usable_id(id)) head_.id = id;
  const auto times = [&](http::field name) {
    const auto [first, last] = fields.equal_range(name);
    return std::distance(first, last);
  };
  if (count > server_.options.max_headers)
    return Refusal{431, fmt::format("{} headers, at most {} are taken", count, server_.options.max_headers)};

  // Where a message ends has one reading, or whoever stands between the client and us may have another one.
  const bool encoded = times(http::field::transfer_encoding) > 0;
  if (times(http::field::content_length) > 1) return Refusal{400, "there are two Content-Lengths"};
  const std::string& length = head_.header("content-length");
  if (times(http::field::content_length) == 1 &&
      (length.empty() || length.find_first_not_of("0123456789") != std::string::npos))
    return Refusal{400, "Content-Length is no usable number"};
  if (encoded && times(http::field::content_length) > 0)
    return Refusal{400, "both Content-Length and Transfer-Encoding are there"};
  if (encoded && (lower_case(head_.header("transfer-encoding")) != "chunked" || version_ == 10))
    return Refusal{400, "the only Transfer-Encoding that is read is \"chunked\", in HTTP/1.1"};

  std::string authority;
  const std::string_view target = view(fields.target());
  head_.path = path_of(target, authority);
  if (!head_.path.starts_with('/') && target != "*") return Refusal{400, "the request's target is no path"};
  if (const auto hosts = times(http::field::host); hosts > 1 || (hosts == 0 && version_ == 11))
    return Refusal{400, hosts == 0 ? "the header Host is missing" : "there are two Hosts"};
  if (!authority.empty()) head_.headers["host"] = authority;
  const std::string& host = head_.header("host");
  if ((version_ == 11 || !host.empty()) && !server_.names.host(host))
    return Refusal{421,
                   fmt::format("this service is not called '{}'; start it with --allow-host NAME where it is", host)};
  const std::string& origin = head_.header("origin");
  if (!origin.empty() && !AllowedNames::same_site(origin, host) && !server_.names.other_site(origin))
    return Refusal{
        403, fmt::format("pages of {} may not ask this service; start it with --allow-origin ORIGIN where they may",
                         origin)};

  if (const std::string coding = lower_case(head_.header("content-encoding")); !coding.empty() && coding != "identity")
    return Refusal{415, "compressed bodies are not read; send it without Content-Encoding"};
  if (const std::string expected = lower_case(head_.header("expect")); !expected.empty() && expected != "100-continue")
    return Refusal{417, "the only thing that can be expected is 100-continue"};
  if (server_.draining) return Refusal{503, "the service is shutting down"};
  return std::nullopt;
}

asio::awaitable<std::optional<HttpConnection::Refusal>> HttpConnection::read_body(Parser& parser, std::string& body) {
  const size_t most = server_.options.max_body_bytes;
  const auto length = parser.content_length();
  if (!length && !parser.chunked()) co_return Refusal{411, "a body needs Content-Length or chunked encoding"};
  if (length && *length > most)
    co_return Refusal{413, fmt::format("the body has {} bytes, at most {} are taken", *length, most)};
  const Waiting waiting(*this);
  Failure error;
  deadline_->set(server_.options.body_timeout);
  if (!parser.is_done() && !head_.header("expect").empty() && version_ == 11) {
    constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(socket_, asio::buffer(go_on.data(), go_on.size()), into(error));
  }
  const Held held(*this);
  parser.body_limit(most);
  while (!error && !parser.is_done()) {
    const size_t before = body.size();
    body.resize(before + kBodyStep);
    held_ += kBodyStep;
    server_.buffered += kBodyStep;
    // One that is closed gives its bytes back when its coroutine comes to it, before this one is back here.
    if (server_.buffered > server_.options.max_buffered_bytes) server_.close_the_slowest(true);
    if (closed_) co_return Refusal{408, "others were faster", true};
    auto& room = parser.get().body();
    room.data = body.data() + before;
    room.size = kBodyStep;
    co_await http::async_read(socket_, buffer_, parser, into(error));
    body.resize(before + kBodyStep - room.size);
    if (error == http::error::need_buffer) error = {};
  }
  if (!error) co_return std::nullopt;
  if (deadline_->passed()) co_return Refusal{408, "the body did not arrive in time"};
  if (error == http::error::body_limit) co_return Refusal{413, fmt::format("the body is larger than {} bytes", most)};
  if (error == http::error::partial_message || error == http::error::end_of_stream ||
      error.category() != http::make_error_code(http::error::bad_chunk).category())
    co_return Refusal{400, "the connection ended within the body", true};
  co_return Refusal{400, "the body can't be read: " + error.message()};
}

asio::awaitable<HttpAnswer> HttpConnection::ask(std::string body) {
  const auto pending = std::make_shared<Pending>(server_.io);
  pending->wake.expires_after(server_.options.answer_timeout);
  asked_ = &pending->wake;
  server_.handler.on_body(head_, std::move(body), [pending, &io = server_.io](HttpAnswer answer) {
    asio::post(io, [pending, answer = std::move(answer)]() mutable {
      if (pending->answer) return;
      pending->answer = std::move(answer);
      pending->wake.cancel();
    });
  });
  Failure error;
  if (!closed_) co_await pending->wake.async_wait(into(error));
  asked_ = nullptr;
  if (pending->answer) co_return std::move(*pending->answer);
  co_return server_.handler.refusal(head_, 504, "there was no answer in time");
}

void HttpConnection::fill(http::response_header<>& header, const HttpAnswer& answer) const {
  header.version(version_);
  header.result(static_cast<unsigned>(answer.status));
  header.set(http::field::date, fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))));
  header.set(http::field::content_type, answer.type);
  header.set(http::field::cache_control, "no-store");
  header.set("X-Content-Type-Options", "nosniff");
  header.set("Referrer-Policy", "no-referrer");
  header.set("X-Request-Id", head_.id);
  for (const auto& [name, value] : answer.headers) header.set(name, value);
  const std::string& origin = head_.header("origin");
  if (!origin.empty() && server_.names.other_site(origin)) {
    header.set(http::field::access_control_allow_origin, origin);
    header.set(http::field::vary, "Origin");
    header.set(http::field::access_control_expose_headers, "X-Request-Id, Retry-After");
  }
}

asio::awaitable<bool> HttpConnection::write(HttpAnswer answer, bool more) {
  const Waiting waiting(*this);
  deadline_->set(server_.options.write_timeout);
  Failure error;
  if (head_.method == "HEAD" || answer.status == 204) {
    http::response<http::empty_body> response;
    fill(response, answer);
    if (answer.status != 204) response.content_length(answer.body.size());
    response.keep_alive(more);
    http::response_serializer<http::empty_body> head_only(response);
    co_await http::async_write_header(socket_, head_only, into(error));
  } else {
    http::response<http::string_body> response;
    fill(response, answer);
    response.body() = std::move(answer.body);
    response.prepare_payload();
    response.keep_alive(more);
    co_await http::async_write(socket_, response, into(error));
  }
  co_return !error;
}

asio::awaitable<void> HttpConnection::let_client_read() {
  const Waiting waiting(*this);
  Failure error;
  socket_.shutdown(tcp::socket::shutdown_send, error);
  deadline_->set(kLetReadTime);
  buffer_.consume(buffer_.size());
  for (size_t left = kLetReadBodies * server_.options.max_body_bytes + kBodyStep; !error && left > 0;) {
    const size_t read = co_await socket_.async_read_some(buffer_.prepare(kBodyStep), into(error));
    left -= std::min(left, read);
  }
}

asio::awaitable<HttpAnswer> HttpConnection::answer_to(Parser& parser, bool& more, bool& gone) {
  std::optional<Refusal> refused = co_await read_head(parser);
  if (!refused) refused = check_head(parser);
  std::optional<HttpAnswer> answer;
  if (!refused && head_.method == "OPTIONS" && !head_.header("access-control-request-method").empty() &&
      server_.names.other_site(head_.header("origin")))
    answer = HttpAnswer{204,
                        "",
                        "text/plain",
                        {{"Access-Control-Allow-Methods", "GET, POST"},
                         {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
                         {"Access-Control-Max-Age", "600"}}};
  if (!refused && !answer) answer = server_.handler.on_head(head_);
  if (!refused && !answer) {
    std::string body;
    refused = co_await read_body(parser, body);
    if (!refused) answer = co_await ask(std::move(body));
  }
  gone = closed_ || (refused && refused->closed);
  // A body that was not read to its end would be read as the next request.
  more = !refused && parser.is_done() && parser.keep_alive() && !server_.draining;
  if (refused) answer = server_.handler.refusal(head_, refused->status, refused->why);
  co_return std::move(*answer);
}

asio::awaitable<bool> HttpConnection::answer_one(bool& more) {
  Parser parser;
  head_ = {};
  head_.id = fmt::format("{}-{}", server_.name, ++server_.requests);
  version_ = 11;
  bool gone = false;
  HttpAnswer answer;
  try {
    answer = co_await answer_to(parser, more, gone);
  } catch (const std::exception& error) {  // memory, or a fault of the handler
    spdlog::warn("serve: {} {}: {}", head_.method, head_.path, error.what());
    answer = server_.handler.refusal(head_, 500, "internal error");
    asked_ = nullptr;
    more = false;
  }
  const int status = answer.status;
  const bool written = !gone && co_await write(std::move(answer), more);
  if (!head_.path.empty())
    server_.handler.on_end(head_, status, std::chrono::duration<double>(Clock::now() - begun_).count());
  co_return written;
}

asio::awaitable<void> HttpConnection::serve() {
  if (server_.draining) co_return;  // it was accepted just before
  deadline_->set(server_.options.header_timeout);
  bool more = true;
  while (more && !closed_) {
    if (!co_await answer_one(more)) co_return;
    idle_ = true;
    deadline_->set(server_.options.idle_timeout);
  }
  idle_ = false;
  if (!closed_) co_await let_client_read();
}

}  // namespace gavel
