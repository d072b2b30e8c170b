// The HTTP server with a handler of our own making, through real sockets: what is one request and what is none, and what
// nobody can make grow or wait.
#include "http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/http_client.h"
#include "base/loopback.h"
#include "http/allowed_names.h"

namespace gavel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

/** POST /echo gives the body back (after a while where the body is "slow", never where it is "never"); GET /health is "fine". */
class Echo final : public HttpHandler {
 public:
  ~Echo() override {
    for (auto& thread : threads_) thread.join();
  }
  std::optional<HttpAnswer> on_head(const HttpHead& head) override {
    if (head.path == "/throw") throw std::runtime_error("a fault");
    if (head.path == "/echo" && head.method == "POST") return std::nullopt;
    if (head.path == "/health") return HttpAnswer{200, "fine", "text/plain", {}};
    return refusal(head, 404, "nothing here");
  }
  void on_body(const HttpHead&, std::string body, HttpReply reply) override {
    ++bodies;
    if (body == "never") return;
    if (body == "slow")
      threads_.emplace_back([reply] {
        std::this_thread::sleep_for(300ms);
        reply({200, "slow", "text/plain", {}});
        reply({200, "twice", "text/plain", {}});
      });
    else
      reply({200, "<" + body + ">", "text/plain", {}});
  }
  HttpAnswer refusal(const HttpHead&, int status, const std::string& why) override {
    return {status, why, "text/plain", {}};
  }
  void on_end(const HttpHead&, int, double seconds) override { longest = std::max(longest.load(), seconds); }

  // Of the server's thread, read by the test's.
  std::atomic<int> bodies{0};
  std::atomic<double> longest{0};

 private:
  std::vector<std::thread> threads_;
};

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t pages = 0;
  file >> pages >> pages;
  return pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  }
  void start(HttpServerOptions options = {}) {
    options.port = 0;
    server_ = std::make_unique<HttpServer>(handler_, options);
    thread_ = std::thread([this] { server_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
  }
  void TearDown() override { stop(); }
  int port() const { return server_->port(); }
  /** All that comes back. */
  std::string raw(const std::string& bytes) const {
    RawClient client(port(), 1500ms);
    client.send(bytes);
    return client.receive();
  }
  /** A request whose answer would tell that it was taken for one. */
  static std::string post(const std::string& body = "secret") {
    return "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }
  double seconds_for_health() const {
    const auto start = std::chrono::steady_clock::now();
    const auto found = http_ask(port(), "GET", "/health", {}, "", 5s);
    EXPECT_TRUE(found && found->status == 200);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Echo handler_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

constexpr const char* kHead = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";

TEST_F(HttpServerTest, AnswersInOrderAndKeepsConnections) {
  start();
  const std::string two =
      raw(post("slow") + post("b") + "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count_of(two, "HTTP/1.1 200 OK"), 3U) << two;
  EXPECT_LT(two.find("slow"), two.find("<b>"));
  EXPECT_LT(two.find("<b>"), two.find("fine"));
  EXPECT_THAT(two, Not(HasSubstr("twice")));
  EXPECT_THAT(raw("GET /health HTTP/1.0\r\n\r\n"), HasSubstr("fine"));
  EXPECT_THAT(raw("GET http://127.0.0.1/health?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
              HasSubstr("fine"));
  const auto head = http_ask(port(), "HEAD", "/health");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->headers.at("Content-Length"), "4");
  EXPECT_EQ(head->body, "");
  EXPECT_THAT(head->headers.at("Date"), testing::MatchesRegex("[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} .* GMT"));
  const std::string chunks =
      raw(std::string(kHead) +
          "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n");
  EXPECT_THAT(chunks, HasSubstr("<abc>"));
  EXPECT_EQ(http_ask(port(), "GET", "/throw")->status, 500);
  EXPECT_EQ(http_ask(port(), "GET", "/nothing")->status, 404);
}

TEST_F(HttpServerTest, AClientIsToldToGoOn) {
  start();
  RawClient client(port());
  client.send(std::string(kHead) + "Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.receive(25), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  EXPECT_THAT(client.receive(), HasSubstr("<abc>"));
  EXPECT_THAT(raw(std::string(kHead) + "Expect: cake\r\nContent-Length: 3\r\n\r\nabc"), HasSubstr(" 417 "));
  EXPECT_THAT(raw("POST /no HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
              testing::AllOf(HasSubstr(" 404 "), Not(HasSubstr(" 100 "))));
}

// Each of these is sent with a further request behind or within it, which must not be answered: where a proxy in front sees one
// request and the server two, the second is somebody else's.
TEST_F(HttpServerTest, WhatHasTwoReadingsHasNone) {
  start();
  const std::string inner = post();
  const std::string length = std::to_string(inner.size());
  struct Case {
    const char* what;
    std::string sent;
    int status;
  };
  const std::string get = "GET /health HTTP/1.1\r\nHost: localhost\r\n", k = kHead;
  for (const Case& c : std::vector<Case>{
           {"a body of GET", get + "Content-Length: " + length + "\r\n\r\n" + inner, 200},
           {"a body of HEAD",
            "HEAD /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + "\r\n\r\n" + inner, 200},
           {"a body of OPTIONS",
            "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + "\r\n\r\n" + inner, 404},
           {"chunks of GET", get + "Transfer-Encoding: chunked\r\n\r\n" + inner, 200},
           {"chunks of DELETE",
            "DELETE /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + inner, 404},
           {"a body of a word that is no method",
            "BREW /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + "\r\n\r\n" + inner, 404},
           {"a body nobody wanted",
            "POST /no HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + "\r\n\r\n" + inner, 404},
           {"a range", get + "Range: bytes=zz\r\nContent-Length: " + length + "\r\n\r\n" + inner, 200},
           {"two lengths", k + "Content-Length: 0\r\nContent-Length: " + length + "\r\n\r\n" + inner, 400},
           {"two equal lengths", k + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + inner, 400},
           {"a list of lengths", k + "Content-Length: 0, 0\r\n\r\n" + inner, 400},
           {"a length and chunks", k + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, 400},
           {"chunks and a length", k + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + inner, 400},
           {"a length and another encoding",
            k + "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\nabcde" + inner, 400},
           {"another encoding", k + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + inner, 400},
           {"no encoding", k + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner, 400},
           {"identity", k + "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner, 400},
           {"two encodings", k + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
            400},
           {"chunks in HTTP/1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, 400},
           {"an encoded length", k + "Content-Length: %30\r\n\r\n" + inner, 400},
           {"a length with a sign", k + "Content-Length: +0\r\n\r\n" + inner, 400},
           {"a negative length", k + "Content-Length: -1\r\n\r\n" + inner, 400},
           {"a length beyond 64 bits", k + "Content-Length: 18446744073709551616\r\n\r\n" + inner, 400},
           {"a blank before the colon", k + "Content-Length : 0\r\n\r\n" + inner, 400},
           {"a length over two lines", k + "Content-Length: 0\r\n 0\r\n\r\n" + inner, 400},
           {"lines that end with LF", "POST /echo HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n" + inner, 505},
           {"a header that ends with LF", get + "X: y\nContent-Length: 0\r\n\r\n" + inner, 400},
           {"a negative chunk", k + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + inner, 400},
           {"a chunk in C's spelling", k + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + inner, 400},
           {"a chunk beyond 64 bits", k + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + inner, 400},
           {"a chunk that is longer than it says",
            k + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + inner, 400},
           {"a length in the trailer", k + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n" + inner,
            400},
           {"no host", "GET /health HTTP/1.1\r\n\r\n" + inner, 400},
           {"two hosts", "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n" + inner, 400},
           {"another version", "GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n" + inner, 505},
           {"no version", "GET /health\r\n\r\n" + inner, 400},
           {"no request", "garbage\r\n\r\n" + inner, 400},
           {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + inner, 505},
           {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + inner, 400},
           {"NUL in a path", std::string("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 36) + inner, 400},
           {"NUL in a header", get + std::string("X: a\0b\r\n\r\n", 10) + inner, 400},
           {"a target that is none", "GET health HTTP/1.1\r\nHost: localhost\r\n\r\n" + inner, 400},
           {"a proxy's request", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + inner, 400},
       }) {
    // Sent at once, and with the inner request a moment later, when it can't be lost with what was read before.
    for (const bool at_once : {true, false}) {
      RawClient client(port(), 1500ms);
      client.send(c.sent.substr(0, c.sent.size() - (at_once ? 0 : inner.size())));
      std::string answer;
      if (!at_once) {
        answer = client.receive(5);
        client.send(inner);
      }
      answer += client.receive();
      EXPECT_THAT(answer, testing::ContainsRegex("^HTTP/1.[01] " + std::to_string(c.status) + " ")) << c.what << "\n"
                                                                                                    << answer;
      EXPECT_EQ(count_of(answer, "Content-Length: "), 1U) << c.what << "\n" << answer;
      EXPECT_THAT(answer, testing::AnyOf(HasSubstr("Connection: close"), testing::StartsWith("HTTP/1.0 "))) << c.what;
    }
  }
  EXPECT_EQ(handler_.bodies, 0);
  EXPECT_THAT(raw(std::string(kHead) + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), HasSubstr(" 415 "));
  EXPECT_LT(seconds_for_health(), 1);
}

TEST_F(HttpServerTest, NothingGrowsWithWhatIsSent) {
  start();
  seconds_for_health();
  const size_t before = resident_bytes();
  const std::string mib(size_t{1} << 20, 'a'), chunked = "Transfer-Encoding: chunked\r\n\r\n";
  std::string headers, tiny, chunk = "100000\r\n" + mib + "\r\n";
  for (int i = 0; i < 64; ++i) headers += "X: " + std::string(8000, 'y') + "\r\n";
  for (int i = 0; i < 200000; ++i) tiny += "a:b\r\n";
  struct Flood {
    const char* what;
    std::string head, part;
    int status;
  };
  for (const Flood& flood : std::vector<Flood>{
           {"a request line without end", "GET /", mib, 431},
           {"a header without end", "GET / HTTP/1.1\r\nX: ", mib, 431},
           {"headers without end", "GET / HTTP/1.1\r\n", headers, 431},
           {"small headers without end", "GET / HTTP/1.1\r\n", tiny, 431},
           {"chunks to nowhere", "POST /no HTTP/1.1\r\nHost: localhost\r\n" + chunked, chunk, 404},
           {"chunks", kHead + chunked, chunk, 413},
           {"a chunk size without end", kHead + chunked, std::string(size_t{1} << 20, '0'), 400},
           {"a chunk extension without end", kHead + chunked + "5;", mib, 400},
           {"a trailer without end", kHead + chunked + "0\r\n", headers, 400},
           {"a body that is too large", std::string(kHead) + "Content-Length: 999999999\r\n\r\n", mib, 413},
           {"a body without length", std::string(kHead) + "\r\n", mib, 411}}) {
    RawClient client(port(), 3s);
    client.send(flood.head);
    size_t sent = 0;
    while (sent < (size_t{100} << 20) && client.send(flood.part)) sent += flood.part.size();
    EXPECT_LT(sent, size_t{100} << 20) << flood.what << " was read on";
  }
  EXPECT_LT(seconds_for_health(), 1);
  EXPECT_LT(resident_bytes(), before + (size_t{40} << 20));
  EXPECT_EQ(handler_.bodies, 0);
  // The same sent a little, so that the answer can be read.
  EXPECT_THAT(raw("GET /" + std::string(20000, 'x')), HasSubstr(" 431 "));
  EXPECT_THAT(raw("GET /health HTTP/1.1\r\nHost: localhost\r\n" + tiny.substr(0, 1000) + "\r\n"), HasSubstr(" 431 "));
  EXPECT_THAT(raw(kHead + chunked + chunk + chunk), HasSubstr(" 413 "));
  EXPECT_THAT(raw(kHead + chunked + "5;" + std::string(60000, 'x')), HasSubstr(" 400 "));
}

TEST_F(HttpServerTest, SlowClientsKeepNobodyOut) {
  HttpServerOptions options;
  options.max_connections = 64;
  options.max_body_bytes = size_t{64} << 10;
  options.max_buffered_bytes = size_t{1} << 20;
  options.header_timeout = 2s;
  options.body_timeout = 2s;
  start(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  const size_t before = resident_bytes();
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<RawClient>(port(), 200ms));
    RawClient& client = *clients.back();
    if (i % 4 == 1) client.send("GET /health HTTP/1.1\r\nX");
    if (i % 4 == 2) client.send(std::string(kHead) + "Content-Length: 65536\r\n\r\n" + std::string(65000, 'x'));
    if (i % 4 == 3) client.send(post());  // and never reads the answer
    if (i % 50 == 49) {
      EXPECT_LT(seconds_for_health(), 1) << i;
    }
  }
  EXPECT_LT(resident_bytes(), before + (size_t{40} << 20));
  // Bytes that come one by one don't make the time longer.
  RawClient drip(port(), 100ms);
  drip.send("GET /health HTTP/1.1\r\nX: ");
  const auto start = std::chrono::steady_clock::now();
  std::string answer;
  while (answer.empty() && std::chrono::steady_clock::now() - start < 10s && drip.send("x")) answer = drip.receive(1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_EQ(answer, "H") << "408";
}

TEST_F(HttpServerTest, AHandlerThatNeverAnswersIsNotWaitedFor) {
  HttpServerOptions options;
  options.answer_timeout = 200ms;
  start(options);
  EXPECT_THAT(raw(post("never")), HasSubstr(" 504 "));
  EXPECT_LT(handler_.longest, 5);
}

TEST_F(HttpServerTest, NamesAndOriginsThatAreNotAllowed) {
  HttpServerOptions options;
  options.allowed_hosts = {"judge.example"};
  options.allowed_origins = {"https://app.example"};
  start(options);
  const auto status = [&](const std::string& headers, const std::string& method = "GET") {
    const std::string answer = raw(method + " /health HTTP/1.1\r\n" + headers + "Connection: close\r\n\r\n");
    return std::pair(answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0, answer);
  };
  for (const char* host : {"localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "judge.example",
                           "judge.example.:443", "a.localhost"})
    EXPECT_EQ(status(std::string("Host: ") + host + "\r\n").first, 200) << host;
  for (const char* host : {"evil.example", "localhost.evil.example", "judge.example.evil", "127.0.0.1.nip.io", "",
                           "a b", "localhost:80x", "[::1", "user@localhost"})
    EXPECT_EQ(status(std::string("Host: ") + host + "\r\n").first, 421) << host;
  EXPECT_EQ(status("Host: localhost:80\r\nOrigin: http://localhost:80\r\n").first, 200);
  EXPECT_EQ(status("Host: localhost:80\r\nOrigin: http://localhost:81\r\n").first, 403);
  EXPECT_EQ(status("Host: localhost\r\nOrigin: http://evil.example\r\n").first, 403);
  EXPECT_EQ(status("Host: localhost\r\nOrigin: null\r\n").first, 403);
  const auto [allowed, answer] = status("Host: localhost\r\nOrigin: https://app.example\r\n");
  EXPECT_EQ(allowed, 200);
  EXPECT_THAT(answer, HasSubstr("Access-Control-Allow-Origin: https://app.example\r\nVary: Origin"));
  const auto [asked, preflight] =
      status("Host: localhost\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", "OPTIONS");
  EXPECT_EQ(asked, 204);
  EXPECT_THAT(preflight,
              testing::AllOf(HasSubstr("Access-Control-Allow-Methods: GET, POST"), Not(HasSubstr("Content-Length"))));
  EXPECT_EQ(status("Host: localhost\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: POST\r\n", "OPTIONS")
                .first,
            403);
  EXPECT_THAT(status("Host: localhost\r\n").second, Not(HasSubstr("Access-Control")));
}

TEST(AllowedNames, WhatIsNoneIsRefusedAtTheStart) {
  for (const char* host : {"", "http://a", "a:80", "a/b"}) EXPECT_THROW(AllowedNames({host}, {}), Error) << host;
  for (const char* origin : {"", "a", "https://", "https://a/b"})
    EXPECT_THROW(AllowedNames({}, {origin}), Error) << origin;
  EXPECT_TRUE(AllowedNames({"*"}, {}).host("any.example"));
  EXPECT_FALSE(AllowedNames({"*"}, {}).host("a b"));
  EXPECT_TRUE(AllowedNames({}, {"*"}).other_site("https://a.example"));
}

TEST_F(HttpServerTest, StoppingAnswersWhatWasTakenInWithinItsTime) {
  HttpServerOptions options;
  options.grace = 700ms;
  start(options);
  RawClient idle(port()), half(port()), slow(port()), never(port());
  half.send("GET /health HTTP/1.1\r\nX");
  slow.send(post("slow"));
  never.send(post("never"));
  std::this_thread::sleep_for(100ms);
  const auto start = std::chrono::steady_clock::now();
  stop();
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, 500ms);
  EXPECT_LT(took, 3s);
  EXPECT_THAT(slow.receive(), HasSubstr("slow"));
  EXPECT_EQ(idle.receive(), "");
  EXPECT_FALSE(RawClient(port()).connected());
}

TEST_F(HttpServerTest, StoppingWithNobodyThereTakesNoTime) {
  start();
  const auto start = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
}

}  // namespace
}  // namespace gavel
