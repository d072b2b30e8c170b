#pragma once
#include <simdjson.h>

#include <string>
#include <string_view>

#include "rows/cells.h"

namespace gavel {

// What texts and conversations look like in JSON. Functions return "" or why the value is not what is expected.

/** The value of a key; of a key that is there twice the last, as other parsers have it. */
bool find_key(simdjson::dom::object object, std::string_view key, simdjson::dom::element& value);

/** A list of strings and nulls, or a string, which is a cell. */
std::string take_turns(simdjson::dom::element value, Cells cells, Turns& out);

// A message is an object with "role" and "content": a text, null, or a list of parts {"type": "text", "text"}, which are joined
// with line ends. Parts of other kinds (images) are refused.

/** A prompt: a text, or messages {"role", "content"}, whose answers of the assistant go to `answers`: a text of a system
 * stands before the first of the user. `key` is for the message. */
std::string take_prompt(simdjson::dom::element value, const std::string& key, Turns& prompt, Turns& answers);

/** An answer: a text or the assistant's messages, which are appended to the conversation's `answers` so far, or messages of
 * both, a whole conversation that stands in place of `answers` and whose prompts go to `prompt` (else left as it is). */
std::string take_answer(simdjson::dom::element value, const std::string& key, Turns& prompt, Turns& answers);

/** A whole conversation: messages, or a text that holds them as JSON. Prompts and answers are its turns; it has some of each. */
std::string take_conversation(simdjson::dom::element value, const std::string& key, Turns& prompt, Turns& answers);

/** Where the user's messages of two conversations differ. */
std::string compare_prompts(const std::string& key_a, const std::vector<std::string>& a, const std::string& key_b,
                            const std::vector<std::string>& b);

/** Whether a text is a list of messages in JSON. */
bool holds_messages(std::string_view text);
/** Whether it begins as one does that Python printed, which is no JSON: why such a text can't be read. */
bool begins_as_python_messages(std::string_view text);
inline constexpr std::string_view kPythonMessages =
    "messages as Python prints them: write them as JSON (json.dumps), or the file with to_json";

/** The value of a key as text: a string as it is, another value as JSON; "" for null and when it is not there. */
std::string text_of_key(simdjson::dom::object object, const std::string& key);

}  // namespace gavel
