#include "compare/chat_endpoint.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/json_text.h"
#include "curl/curl_library.h"

namespace gavel {

namespace {

constexpr size_t kMostAnswerBytes = size_t{1} << 20;
constexpr std::chrono::milliseconds kLongestWait{60000};

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

size_t take_bytes(char* bytes, size_t size, size_t count, void* into) {
  auto& body = *static_cast<std::string*>(into);
  if (body.size() + size * count > kMostAnswerBytes) return 0;  // ends the transfer
  body.append(bytes, size * count);
  return size * count;
}

/** What a service says in a body of an error. */
std::string message_of(const std::string& body) {
  constexpr size_t kMost = 300;
  if (!json_is_deeper(body, 32))
    if (const auto json = nlohmann::json::parse(body, nullptr, false); json.is_object() && json.contains("error")) {
      const nlohmann::json& error = json["error"];
      if (error.is_string()) return error.get<std::string>().substr(0, kMost);
      if (error.is_object() && error.contains("message") && error["message"].is_string())
        return error["message"].get<std::string>().substr(0, kMost);
    }
  return body.empty() ? "no reason given" : body.substr(0, kMost);
}

/** Fills in the reply of a body that came with 200, or says what is wrong with it. */
void read_reply(const std::string& body, ChatReply& reply) {
  reply.error = "the answer is no chat completion: " + body.substr(0, 100);
  if (json_is_deeper(body, 32)) return;
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("choices") || !json["choices"].is_array() || json["choices"].empty()) return;
  const nlohmann::json& choice = json["choices"][0];
  if (!choice.is_object() || !choice.contains("message") || !choice["message"].is_object()) return;
  const auto content = choice["message"].find("content");
  if (content == choice["message"].end()) return;
  // A model that was cut short while it reasoned has said nothing: that is an answer, though none that can be read.
  if (!content->is_string() && !content->is_null()) return;
  if (content->is_string()) reply.text = content->get<std::string>();
  reply.error.clear();
  if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
    const auto count = [&](const char* key) {
      const auto found = usage->find(key);
      return found != usage->end() && found->is_number_integer() ? std::max<int64_t>(found->get<int64_t>(), 0) : 0;
    };
    reply.prompt_tokens = count("prompt_tokens");
    reply.completion_tokens = count("completion_tokens");
  }
}

/** One connection, used by one thread. */
class ChatClient {
 public:
  explicit ChatClient(const ChatEndpoint& endpoint)
      : endpoint_(endpoint), curl_(curl_easy_init()), random_(std::random_device{}()) {
    if (curl_ == nullptr) fail("libcurl gives no handle");
    add_header("Content-Type: application/json");
    if (!endpoint.key.empty()) add_header("Authorization: Bearer " + endpoint.key);
    set(CURLOPT_URL, (endpoint.url + "/chat/completions").c_str());
    set(CURLOPT_HTTPHEADER, headers_.get());
    set(CURLOPT_WRITEFUNCTION, take_bytes);
    set(CURLOPT_WRITEDATA, &body_);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(endpoint.timeout.count()));
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "gavel");
  }

  /** Throws Error for what another attempt would not change. `stop`: give up between attempts. */
  ChatReply ask(const std::string& prompt, const std::atomic<bool>& stop) {
    nlohmann::ordered_json request = {{"model", endpoint_.model}};
    const nlohmann::ordered_json message = {{"role", "user"}, {"content", prompt}};
    request["messages"] = nlohmann::ordered_json::array({message});
    if (endpoint_.temperature) request["temperature"] = *endpoint_.temperature;
    if (endpoint_.max_tokens) request["max_tokens"] = *endpoint_.max_tokens;
    const std::string text = request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
    set(CURLOPT_POSTFIELDS, text.c_str());
    ChatReply reply;
    for (std::chrono::milliseconds wait = endpoint_.first_wait; !stop; wait = std::min(2 * wait, kLongestWait)) {
      ++reply.attempts;
      if (attempt(reply) || reply.attempts > endpoint_.retries) break;
      pause(std::max(jittered(wait), std::min(asked_to_wait(), kLongestWait)), stop);
    }
    return reply;
  }

 private:
  template <class Value>
  void set(CURLoption option, Value value) {
    if (const CURLcode code = curl_easy_setopt(curl_.get(), option, value); code != CURLE_OK)
      fail("{}: libcurl does not take it: {}", endpoint_.url, curl_easy_strerror(code));
  }
  void add_header(const std::string& line) {
    curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(headers_.release());
    headers_.reset(longer);
  }
  /** Whether that was the last one. */
  bool attempt(ChatReply& reply) {
    body_.clear();
    const CURLcode code = curl_easy_perform(curl_.get());
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT || code == CURLE_PEER_FAILED_VERIFICATION)
      fail("{}: {}", endpoint_.url, curl_easy_strerror(code));
    if (code != CURLE_OK) {
      reply.error = code == CURLE_WRITE_ERROR ? fmt::format("the answer has more than {} bytes", kMostAnswerBytes)
                                              : curl_easy_strerror(code);
      return code == CURLE_WRITE_ERROR;
    }
    long status = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
      curl_easy_getinfo(curl_.get(), CURLINFO_TOTAL_TIME, &reply.seconds);
      read_reply(body_, reply);
      return true;
    }
    reply.error = fmt::format("status {}: {}", status, message_of(body_));
    if (status == 408 || status == 429 || status >= 500) return false;
    fail("{}/chat/completions: {}", endpoint_.url, reply.error);
  }
  std::chrono::milliseconds asked_to_wait() {
    curl_off_t seconds = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
    return std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, 3600));
  }
  /** Those that were refused together do not come back together. */
  std::chrono::milliseconds jittered(std::chrono::milliseconds wait) {
    return std::chrono::milliseconds(
        static_cast<int64_t>(static_cast<double>(wait.count()) * std::uniform_real_distribution(0.75, 1.25)(random_)));
  }
  static void pause(std::chrono::milliseconds wait, const std::atomic<bool>& stop) {
    const auto until = std::chrono::steady_clock::now() + wait;
    while (!stop && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(wait, std::chrono::milliseconds(50)));
  }

  const ChatEndpoint& endpoint_;
  std::unique_ptr<CURL, CurlDeleter> curl_;
  std::unique_ptr<curl_slist, CurlDeleter> headers_;
  std::string body_;
  std::mt19937 random_;
};

}  // namespace

std::vector<ChatReply> ask_chat(const ChatEndpoint& endpoint, std::span<const std::string> prompts,
                                const std::function<void(size_t)>& done) {
  std::vector<ChatReply> replies(prompts.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;  // of the next two
  size_t answered = 0;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      ChatClient client(endpoint);
      for (size_t i = next++; i < prompts.size() && !stop; i = next++) {
        replies[i] = client.ask(prompts[i], stop);
        const std::lock_guard lock(mutex);
        if (done) done(++answered);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (error == nullptr) error = std::current_exception();
      stop = true;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < std::min(endpoint.concurrency, prompts.size()); ++i) threads.emplace_back(work);
  }
  if (error != nullptr) std::rethrow_exception(error);
  const bool none = std::ranges::none_of(replies, [](const ChatReply& reply) { return reply.error.empty(); });
  if (none && !replies.empty())
    fail("{}/chat/completions: not one question was answered: {} (after {} attempts)", endpoint.url,
         replies.front().error, replies.front().attempts);
  return replies;
}

}  // namespace gavel
