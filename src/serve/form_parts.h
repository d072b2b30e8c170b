#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "judge/rank.h"

namespace gavel {

using AnswerJson = nlohmann::ordered_json;

/** The body's object. Throws Error when it is none. */
nlohmann::json object_of(std::string_view body);

/** A text, {"text": text}, or a list of these: at least one. Throws Error naming the key. */
std::vector<std::string> texts_of(const nlohmann::json& object, const char* key);

/** A key that is true or false, or nothing where it is missing or null. Throws Error naming the key. */
std::optional<bool> flag_of(const nlohmann::json& object, const char* key);

/** candidate_rows(), or Error where that is more than a request may have. */
std::vector<PreferenceRow> rows_within(std::span<const Candidates> all, size_t most_pairs);

}  // namespace gavel
