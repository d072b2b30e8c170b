#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "compare/chat_endpoint.h"
#include "rows/preferences.h"

namespace gavel {

/** A chat model that is asked which of two answers is better. */
struct ChatJudge {
  ChatEndpoint endpoint;
  /** A text with {prompt}, {response_a} and {response_b}, each at least once. */
  std::string question;
};

/** The question that is asked where none is given. */
std::string_view default_question();

/** "http://host/v1,model=NAME[,prompt=FILE][,key-env=VARIABLE][,temperature=T|none][,max-tokens=N][,concurrency=N][,retries=N]
 * [,timeout=SECONDS]". A key is sent only where key-env names its variable. Throws Error naming the setting that is wrong. */
ChatJudge parse_chat_judge(std::string_view text);

/** The question on a pair. What the texts hold in braces stays as it is; the rounds of a longer conversation are numbered. */
std::string render_question(std::string_view question, const PreferenceRow& row);

/** The outcome that a reply says: 0 A, 1 B, 2 tie. A reply says one when, without white space, quotes, asterisks, brackets and a full
 * stop around it, it is A, B, C or tie in any case (C is MT-Bench's tie), or when it has [[A]], [[B]], [[C]] or [[tie]] in it, and no
 * other of these. What stands in <think>…</think> at its begin is not read. */
std::optional<size_t> read_verdict(std::string_view reply);

}  // namespace gavel
