#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "hub/settings.h"

namespace gavel {

struct HubResponse {
  /** 0 where nothing came. */
  int status = 0;
  /** By names in small letters; of the last answer alone, not of redirects before it. */
  std::map<std::string, std::string> headers;
  /** Of get(), or the beginning of an error's. */
  std::string body;
  /** Why the transfer broke off; "" where it came to its end. */
  std::string broken;
  /** Whether it broke off before anybody answered: no such host, or nobody there. */
  bool unreachable = false;
  /** Seconds that the server asks to wait; 0 = it does not say. */
  int64_t retry_after = 0;
  /** Whether the token went with the request. */
  bool with_token = false;
  /** The address that answered, where that was not the endpoint itself but one that it led to; else "". */
  std::string elsewhere;

  /** A header's value, or "". */
  const std::string& header(const std::string& small_name) const;
  /** Whether the same may go well a little later. */
  bool may_be_tried_again() const;
};

/** GET requests over libcurl, with redirects followed by hand: the token goes to the endpoint's own host alone, and nothing goes from
 * https to http. For one thread. */
class HubTransfer {
 public:
  /** Gets the parts of a body in order, with the response so far. What it throws ends the transfer and comes out of download(). */
  using Sink = std::function<void(const HubResponse& head, std::string_view part)>;

  explicit HubTransfer(const HubSettings& settings);
  ~HubTransfer();
  HubTransfer(const HubTransfer&) = delete;
  HubTransfer& operator=(const HubTransfer&) = delete;

  /** A body of at most `most` bytes. Throws Error for a longer one. */
  HubResponse get(const std::string& url, size_t most);
  /** The body of a 200 or 206 goes to the sink; `from` > 0 asks for what is behind that many bytes. */
  HubResponse download(const std::string& url, int64_t from, const Sink& sink);

  /** A text within an address: all but plain letters as %XX, slashes too unless `keep_slashes`. */
  static std::string escape(std::string_view text, bool keep_slashes = false);

 private:
  struct Handle;
  struct Reception;
  HubResponse ask(const std::string& url, int64_t from, const Sink& sink);
  HubResponse ask_once(const std::string& url, int64_t from, const Sink& sink, std::string& redirect);

  HubSettings settings_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace gavel
