#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** The beginning of a request: its line and its headers. */
struct HttpHead {
  std::string method;
  /** Without the query; as it was sent, nothing decoded. Empty where the request could not be read so far. */
  std::string path;
  /** Tells the request from others: its X-Request-Id, where that is fit to be written anywhere, else one of the server's. Every answer
   * has it in that header. */
  std::string id;
  /** By names in lower case; those sent several times are joined by ", ". */
  std::map<std::string, std::string, std::less<>> headers;

  /** A header's value, or "". */
  const std::string& header(std::string_view lower_case_name) const;
};

struct HttpAnswer {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

/** Gives the answer to a request whose body was taken; may be called from any thread, at any time, and counts once. */
using HttpReply = std::function<void(HttpAnswer)>;

/** What a server does with the requests that it took. All is called on the server's own thread, on which every connection waits
 * meanwhile, so nothing here may take long. */
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /** The answer where it needs no body, or nothing: the body is wanted. */
  virtual std::optional<HttpAnswer> on_head(const HttpHead& head) = 0;
  /** The whole body, after on_head() wanted it. */
  virtual void on_body(const HttpHead& head, std::string body, HttpReply reply) = 0;
  /** How the server's own refusals are written: 400, 403, 408, 411, 413, 415, 417, 421, 431, 500, 503, 504, 505. */
  virtual HttpAnswer refusal(const HttpHead& head, int status, const std::string& why) = 0;
  /** Every request whose beginning was read ends once, with the answer's status, so many seconds after it. */
  virtual void on_end(const HttpHead& head, int status, double seconds) = 0;
};

}  // namespace gavel
