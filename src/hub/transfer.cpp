#include "hub/transfer.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "base/terminal.h"
#include "curl/curl_library.h"

namespace gavel {

namespace {

constexpr int kMostRedirects = 10;
constexpr size_t kMostHeaders = 200, kLongestHeader = 8 << 10;
constexpr size_t kErrorBody = 4 << 10;
constexpr long kConnectSeconds = 30, kSilentSeconds = 60;

/** Scheme, host and port, which must all be the same for the token to go along. */
std::string origin(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&::curl_url_cleanup)> parsed(::curl_url(), &::curl_url_cleanup);
  if (!parsed || ::curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  std::string all;
  for (CURLUPart part : {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT}) {
    char* text = nullptr;
    if (::curl_url_get(parsed.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
    all += text;
    all += '\n';
    ::curl_free(text);
  }
  std::ranges::transform(all, all.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return all;
}

struct FreeList {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};

}  // namespace

const std::string& HubResponse::header(const std::string& small_name) const {
  static const std::string none;
  const auto found = headers.find(small_name);
  return found == headers.end() ? none : found->second;
}

bool HubResponse::may_be_tried_again() const {
  if (!broken.empty()) return true;
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

struct HubTransfer::Handle {
  CURL* curl = nullptr;
  char error[CURL_ERROR_SIZE] = "";
};

/** What curl's callbacks write to. */
struct HubTransfer::Reception {
  CURL* curl;
  const Sink& sink;
  HubResponse response;
  std::exception_ptr thrown;

  /** Exceptions must not pass through C. */
  template <class Take>
  size_t guard(size_t size, Take take) {
    try {
      take();
      return size;
    } catch (...) {
      thrown = std::current_exception();
      return size + 1;  // tells curl to stop
    }
  }

  static size_t on_header(char* data, size_t, size_t size, void* self) {
    auto& reception = *static_cast<Reception*>(self);
    return reception.guard(size, [&] { reception.take_header({data, size}); });
  }
  static size_t on_body(char* data, size_t, size_t size, void* self) {
    auto& reception = *static_cast<Reception*>(self);
    return reception.guard(size, [&] { reception.take_body({data, size}); });
  }

  void take_header(std::string_view line) {
    // An answer such as 100 Continue comes before the real one.
    if (line.starts_with("HTTP/")) return response.headers.clear();
    const size_t colon = line.find(':');
    if (colon == line.npos || line.size() > kLongestHeader || response.headers.size() >= kMostHeaders) return;
    std::string name(line.substr(0, colon));
    for (char& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\r' || value.back() == '\n'))
      value.remove_suffix(1);
    response.headers[name] = value;
  }

  void take_body(std::string_view part) {
    long status = 0;
    ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response.status = static_cast<int>(status);
    if (status == 200 || status == 206) return sink(response, part);
    response.body += part.substr(0, kErrorBody - std::min(kErrorBody, response.body.size()));
  }
};

HubTransfer::HubTransfer(const HubSettings& settings) : settings_(settings), handle_(std::make_unique<Handle>()) {
  handle_->curl = ::curl_easy_init();
  if (handle_->curl == nullptr) fail("hub: libcurl can't be used");
}

HubTransfer::~HubTransfer() {
  ::curl_easy_cleanup(handle_->curl);
}

HubResponse HubTransfer::ask_once(const std::string& url, int64_t from, const Sink& sink, std::string& redirect) {
  CURL* curl = handle_->curl;
  ::curl_easy_reset(curl);  // connections stay
  Reception reception{curl, sink, {}, nullptr};
  handle_->error[0] = '\0';
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle_->error);
  ::curl_easy_setopt(curl, CURLOPT_USERAGENT, "gavel");
  ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSilentSeconds);
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Reception::on_header);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &reception);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Reception::on_body);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reception);
  if (from > 0) ::curl_easy_setopt(curl, CURLOPT_RANGE, fmt::format("{}-", from).c_str());
  if (!settings_.certificates.empty()) ::curl_easy_setopt(curl, CURLOPT_CAINFO, settings_.certificates.c_str());
  std::unique_ptr<curl_slist, FreeList> headers;
  if (!settings_.token.empty() && !origin(url).empty() && origin(url) == origin(settings_.endpoint)) {
    headers.reset(::curl_slist_append(nullptr, fmt::format("Authorization: Bearer {}", settings_.token).c_str()));
    ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
    reception.response.with_token = true;
  }
  const CURLcode code = ::curl_easy_perform(curl);
  if (reception.thrown) std::rethrow_exception(reception.thrown);
  HubResponse response = std::move(reception.response);
  long status = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  curl_off_t wait = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait);
  response.retry_after = wait;
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    fail("{}: its certificate is not trusted here: {} (REQUESTS_CA_BUNDLE names a file of certificates to trust)", url,
         handle_->error);
  if (code != CURLE_OK) response.broken = handle_->error[0] != '\0' ? handle_->error : ::curl_easy_strerror(code);
  response.unreachable =
      code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT;
  const char* next = nullptr;
  if (status >= 301 && status <= 308 && ::curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &next) == CURLE_OK &&
      next != nullptr)
    redirect = next;
  return response;
}

HubResponse HubTransfer::ask(const std::string& url, int64_t from, const Sink& sink) {
  std::string at = url;
  bool with_token = false;
  for (int redirects = 0; redirects <= kMostRedirects; ++redirects) {
    std::string next;
    HubResponse response = ask_once(at, from, sink, next);
    with_token |= response.with_token;
    response.with_token = with_token;
    if (origin(at) != origin(settings_.endpoint)) response.elsewhere = at.substr(0, at.find('?'));
    if (next.empty() || !response.broken.empty()) return response;
    const bool secure = at.starts_with("https://");
    if (!next.starts_with("https://") && (secure || !next.starts_with("http://")))
      fail("{}: leads to {}, which is not followed: it is no https address", url, printable(next, 200));
    at = next;
  }
  fail("{}: leads from one address to another more than {} times", url, kMostRedirects);
}

HubResponse HubTransfer::get(const std::string& url, size_t most) {
  std::string body;
  HubResponse response = ask(url, 0, [&](const HubResponse&, std::string_view part) {
    if (body.size() + part.size() > most) fail("{}: the answer is longer than {} bytes", url, most);
    body += part;
  });
  if (response.status == 200) response.body = std::move(body);
  return response;
}

HubResponse HubTransfer::download(const std::string& url, int64_t from, const Sink& sink) {
  return ask(url, from, sink);
}

std::string HubTransfer::escape(std::string_view text, bool keep_slashes) {
  std::string out;
  for (char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (c == '/' && keep_slashes);
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace gavel
