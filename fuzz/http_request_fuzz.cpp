// Any bytes on a connection of the HTTP server: what comes back is whole HTTP answers and then the end, and no body that the handler
// is given, nor any path, is longer than it may be. As a first byte the input says how it is cut into two sendings.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>

#include "fuzz_target.h"
#include "http/allowed_names.h"
#include "http/server.h"

namespace {

class Handler final : public gavel::HttpHandler {
 public:
  std::optional<gavel::HttpAnswer> on_head(const gavel::HttpHead& head) override {
    if (head.path.size() > kMostHeader) std::abort();
    if (head.method == "POST") return std::nullopt;
    return gavel::HttpAnswer{200, "fine", "text/plain", {}};
  }
  void on_body(const gavel::HttpHead& head, std::string body, gavel::HttpReply reply) override {
    if (body.size() > kMostBody) std::abort();
    // One length or chunks: whoever else reads this request finds the same end.
    const std::string& length = head.header("content-length");
    if (length.empty() != (head.header("transfer-encoding").size() == 7)) std::abort();
    if (!length.empty() && std::stoull(length) != body.size()) std::abort();
    reply({200, std::to_string(body.size()), "text/plain", {}});
  }
  gavel::HttpAnswer refusal(const gavel::HttpHead&, int status, const std::string& why) override {
    if (status < 400 || status > 505) std::abort();
    return {status, why, "text/plain", {}};
  }
  void on_end(const gavel::HttpHead&, int, double) override {}

  static constexpr size_t kMostHeader = 2048, kMostBody = 4096;
};

struct Running {
  Handler handler;
  std::unique_ptr<gavel::HttpServer> server;
  std::thread thread;
  Running() {
    gavel::HttpServerOptions options;
    options.port = 0;
    options.max_header_bytes = Handler::kMostHeader;
    options.max_body_bytes = Handler::kMostBody;
    server = std::make_unique<gavel::HttpServer>(handler, options);
    thread = std::thread([this] { server->run(); });
  }
  ~Running() {
    server->stop();
    thread.join();
  }
};

/** Aborts unless the text is whole answers. */
void check_answers(std::string_view text) {
  while (!text.empty()) {
    if (text.starts_with("HTTP/1.1 100 Continue\r\n\r\n")) {
      text.remove_prefix(25);
      continue;
    }
    const size_t end = text.find("\r\n\r\n"), length = text.find("Content-Length: ");
    if (!text.starts_with("HTTP/1.") || end == std::string_view::npos || length > end) std::abort();
    const size_t size = std::stoull(std::string(text.substr(length + 16, 20)));
    if (text.size() < end + 4 + size) {
      // An answer to HEAD has none of the bytes that its length tells of.
      if (text.size() != end + 4 && text.compare(end + 4, 5, "HTTP/") != 0) std::abort();
      text.remove_prefix(end + 4);
    } else {
      text.remove_prefix(text.compare(end + 4, 5, "HTTP/") == 0 ? end + 4 : end + 4 + size);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Running running;
  if (size == 0) return 0;
  const std::string_view sent(reinterpret_cast<const char*>(data) + 1, size - 1);
  const gavel::AllowedNames names({"a.example"}, {"https://b.example"});
  if (names.host(sent) && sent.find('@') != std::string_view::npos) std::abort();

  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  // Closing drops the connection, or thousands a second would use up the ports of the machine.
  const linger drop{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(running.server->port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const size_t first = sent.size() * data[0] / 255;
    (void)!::send(socket, sent.data(), first, MSG_NOSIGNAL);
    (void)!::send(socket, sent.data() + first, sent.size() - first, MSG_NOSIGNAL);
    ::shutdown(socket, SHUT_WR);
    std::string answer;
    char part[4096];
    for (ssize_t got; (got = ::recv(socket, part, sizeof part, 0)) > 0;) answer.append(part, static_cast<size_t>(got));
    check_answers(answer);
  }
  ::close(socket);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string host = "Host: localhost\r\n", get = "GET /a?b HTTP/1.1\r\n" + host + "\r\n";
  const std::string post = "POST / HTTP/1.1\r\n" + host;
  return {"\xff" + get + get,
          "\x80" + post + "Content-Length: 3\r\n\r\nabc" + get,
          "\x20" + post + "Transfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nab\r\n0\r\nX: y\r\n\r\n" + get,
          "\xff" + post + "Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
          "\xffHEAD / HTTP/1.0\r\nOrigin: http://localhost\r\nConnection: keep-alive\r\n\r\n" + get,
          "\xffOPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: "
          "POST\r\n\r\n",
          "\xff" + post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"};
}
