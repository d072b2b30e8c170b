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

/** A prompt: a text, or messages {"role", "content"}, whose answers of the assistant go to `answers`: a text of a system
 * stands before the first of the user. `key` is for the message. */
std::string take_prompt(simdjson::dom::element value, const std::string& key, Turns& prompt, Turns& answers);

/** An answer: a text or the assistant's messages, which are appended to the conversation's `answers` so far, or messages of
 * both, a whole conversation that stands in place of `answers` and whose prompts go to `prompt` (else left as it is). */
std::string take_answer(simdjson::dom::element value, const std::string& key, Turns& prompt, Turns& answers);

/** The value of a key as text: a string as it is, another value as JSON; "" for null and when it is not there. */
std::string text_of_key(simdjson::dom::object object, const std::string& key);

}  // namespace gavel
