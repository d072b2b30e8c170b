#pragma once
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gavel {

struct LocalRequest {
  std::string target;
  std::map<std::string, std::string> headers;  // by names in small letters

  std::string header(const std::string& name) const { return headers.contains(name) ? headers.at(name) : ""; }
};

struct LocalReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /** The connection ends after so many bytes of the body. */
  size_t torn_after = std::string::npos;
};

/** HTTP on a free port of 127.0.0.1, one request after the other, a connection each. */
class LocalServer {
 public:
  using Answer = std::function<LocalReply(const LocalRequest&)>;

  explicit LocalServer(Answer answer) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 64);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~LocalServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  std::string address() const { return fmt::format("http://127.0.0.1:{}", port_); }
  std::vector<LocalRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  /** Replies to the next requests, before the server's own. */
  void next(LocalReply reply) {
    const std::lock_guard lock(mutex_);
    first_.push_back(std::move(reply));
  }

 private:
  void serve() {
    for (;;) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      serve_one(client);
      ::close(client);
    }
  }

  void serve_one(int client) {
    std::string text;
    char part[4096];
    while (text.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(client, part, sizeof part, 0);
      if (got <= 0) return;
      text.append(part, static_cast<size_t>(got));
    }
    LocalRequest request;
    const size_t space = text.find(' ');
    request.target = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
    for (size_t at = text.find("\r\n") + 2; at < text.size() && text[at] != '\r';) {
      const size_t end = text.find("\r\n", at), colon = text.find(": ", at);
      std::string name = text.substr(at, colon - at);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = text.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    LocalReply reply;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      if (first_.empty()) {
        reply = answer_(request);
      } else {
        reply = first_.front();
        first_.pop_front();
      }
    }
    std::string out =
        fmt::format("HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n", reply.status, reply.body.size());
    for (const auto& [name, value] : reply.headers) out += fmt::format("{}: {}\r\n", name, value);
    out += "\r\n" + reply.body.substr(0, reply.torn_after);
    for (size_t at = 0; at < out.size();) {
      const ssize_t sent = ::send(client, out.data() + at, out.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return;
      at += static_cast<size_t>(sent);
    }
  }

  Answer answer_;
  int listener_, port_ = 0;
  mutable std::mutex mutex_;
  std::vector<LocalRequest> requests_;
  std::deque<LocalReply> first_;
  std::thread thread_;
};

/** One repository as the Hugging Face hub shows it: large files lie with a store on another port, to which the hub leads. What tests
 * change before they ask is public. */
class LocalHub {
 public:
  std::string repository = "tiny/judge", commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, std::string> files;
  /** The token that is asked for; "" = none. */
  std::string token;
  bool gated = false;
  /** Told in place of a file's real hash. */
  std::map<std::string, std::string> wrong_hash;

  LocalServer store{[this](const LocalRequest& request) { return from_store(request); }};
  LocalServer hub{[this](const LocalRequest& request) { return from_hub(request); }};

  static std::string hex_digest(const std::string& text, bool lfs) {
    const std::string whole = lfs ? text : fmt::format("blob {}", text.size()) + '\0' + text;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    ::EVP_Digest(whole.data(), whole.size(), digest, &size, lfs ? ::EVP_sha256() : ::EVP_sha1(), nullptr);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
    return hex;
  }
  static bool is_large(std::string_view name) { return name.ends_with(".safetensors") || name.ends_with(".gguf"); }
  std::string hash(const std::string& name) const {
    return wrong_hash.contains(name) ? wrong_hash.at(name) : hex_digest(files.at(name), is_large(name));
  }

 private:
  LocalReply error(int status, const std::string& code) const { return {status, {{"X-Error-Code", code}}, "{}"}; }

  LocalReply from_hub(const LocalRequest& request) const {
    if (!token.empty() && request.header("authorization") != "Bearer " + token) return error(401, "RepoNotFound");
    if (gated) return error(403, "GatedRepo");
    const std::string api = "/api/models/" + repository + "/revision/", resolve = "/" + repository + "/resolve/";
    if (request.target.starts_with(api)) {
      const std::string revision = request.target.substr(api.size(), request.target.find('?') - api.size());
      if (revision != "main" && revision != "refs%2Fpr%2F1" && revision != commit)
        return error(404, "RevisionNotFound");
      std::string siblings;
      for (const auto& [name, text] : files) {
        const std::string lfs = is_large(name) ? fmt::format(R"(,"lfs":{{"sha256":"{}","size":{},"pointerSize":130}})",
                                                             hash(name), text.size())
                                               : "";
        siblings += fmt::format(R"({}{{"rfilename":"{}","size":{},"blobId":"{}"{}}})", siblings.empty() ? "" : ",",
                                name, text.size(), is_large(name) ? std::string(40, 'a') : hash(name), lfs);
      }
      return {200, {}, fmt::format(R"({{"id":"{}","sha":"{}","siblings":[{}]}})", repository, commit, siblings)};
    }
    if (!request.target.starts_with(resolve + commit + "/")) return error(404, "RepoNotFound");
    const std::string name = request.target.substr(resolve.size() + commit.size() + 1);
    if (!files.contains(name)) return error(404, "EntryNotFound");
    if (!is_large(name)) return ranged(files.at(name), request);
    return {302, {{"Location", store.address() + "/of/" + name}, {"X-Linked-Etag", "\"" + hash(name) + "\""}}, "Found"};
  }

  LocalReply from_store(const LocalRequest& request) const {
    const std::string name = request.target.substr(std::string("/of/").size());
    return files.contains(name) ? ranged(files.at(name), request) : LocalReply{404, {}, ""};
  }

  static LocalReply ranged(const std::string& text, const LocalRequest& request) {
    const std::string range = request.header("range");
    if (range.empty()) return {200, {}, text};
    const size_t from = std::stoul(range.substr(std::string("bytes=").size()));
    if (from >= text.size()) return {416, {}, ""};
    return {
        206, {{"Content-Range", fmt::format("bytes {}-{}/{}", from, text.size() - 1, text.size())}}, text.substr(from)};
  }
};

}  // namespace gavel
