#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** A service with OpenAI's chat completions. */
struct ChatEndpoint {
  /** What "/chat/completions" is put behind: "https://host/v1". */
  std::string url;
  std::string model;
  /** The token of "Authorization: Bearer"; "" = none is sent. */
  std::string key;
  /** nullopt: neither is sent, and the service's own holds. */
  std::optional<double> temperature = 0;
  std::optional<int64_t> max_tokens;
  /** Requests at once. */
  size_t concurrency = 4;
  /** How often a request is sent again after 408, 429, 5xx and failures of the connection; first after `first_wait`, then after twice
   * that and so on up to a minute, or as long as Retry-After says. */
  int retries = 5;
  std::chrono::milliseconds first_wait{500};
  /** For a request and its whole answer. */
  std::chrono::milliseconds timeout{120000};
};

/** What came of one prompt. */
struct ChatReply {
  std::string text;
  /** Why there is none, after all retries; "" where there is one. */
  std::string error;
  /** As the service counts them; 0 where it does not. */
  int64_t prompt_tokens = 0, completion_tokens = 0;
  /** Of the attempt that was answered. */
  double seconds = 0;
  int attempts = 0;
};

/** Sends each prompt as one message of the user, and gives the replies in the prompts' order. `done` is called with how many are
 * answered. Throws Error for an answer that would be the same for all (401, 404, 400 and their like), and when not one prompt was
 * answered. */
std::vector<ChatReply> ask_chat(const ChatEndpoint& endpoint, std::span<const std::string> prompts,
                                const std::function<void(size_t)>& done = {});

}  // namespace gavel
