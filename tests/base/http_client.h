#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gavel {

/** One TCP connection to 127.0.0.1, for tests: what is sent is what the test says, byte for byte. */
class RawClient {
 public:
  explicit RawClient(int port, std::chrono::milliseconds wait = std::chrono::seconds(5))
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    timeval timeout{wait.count() / 1000, wait.count() % 1000 * 1000};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { ::close(socket_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  /** False once the other side takes no more. */
  bool send(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t sent = ::send(socket_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += static_cast<size_t>(sent);
    }
    return true;
  }
  /** What comes until the other side closes, or nothing comes for the wait; `most` bytes at most. */
  std::string receive(size_t most = SIZE_MAX) {
    std::string all;
    char part[4096];
    while (all.size() < most) {
      const ssize_t got = ::recv(socket_, part, std::min(sizeof part, most - all.size()), 0);
      if (got <= 0) break;
      all.append(part, static_cast<size_t>(got));
    }
    return all;
  }

 private:
  int socket_;
  bool connected_ = false;
};

struct HttpReceived {
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
};

/** One request on a connection of its own; nothing where no whole answer came. */
inline std::optional<HttpReceived> http_ask(int port, const std::string& method, const std::string& path,
                                            const std::vector<std::pair<std::string, std::string>>& headers = {},
                                            const std::string& body = "",
                                            std::chrono::milliseconds wait = std::chrono::seconds(120)) {
  RawClient client(port, wait);
  std::string request = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  for (const auto& [name, value] : headers) request += name + ": " + value + "\r\n";
  if (!body.empty() || method == "POST") request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  if (!client.connected() || !client.send(request + "\r\n" + body)) return std::nullopt;
  const std::string answer = client.receive();
  const size_t end = answer.find("\r\n\r\n");
  if (end == std::string::npos || !answer.starts_with("HTTP/1.1 ")) return std::nullopt;
  HttpReceived received;
  received.status = std::atoi(answer.c_str() + 9);
  for (size_t at = answer.find("\r\n") + 2; at < end;) {
    const size_t line_end = answer.find("\r\n", at), colon = answer.find(": ", at);
    received.headers[answer.substr(at, colon - at)] = answer.substr(colon + 2, line_end - colon - 2);
    at = line_end + 2;
  }
  received.body = answer.substr(end + 4);
  if (method != "HEAD" && std::to_string(received.body.size()) != received.headers["Content-Length"])
    return std::nullopt;
  return received;
}

inline std::optional<HttpReceived> http_post(int port, const std::string& path, const std::string& json) {
  return http_ask(port, "POST", path, {{"Content-Type", "application/json"}}, json);
}

}  // namespace gavel
