#include "judge/pair_json.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "report/scores.h"
#include "rows/cells.h"

namespace gavel {

namespace {

using Json = nlohmann::json;

const std::vector<std::string>& keys() {
  static const std::vector<std::string> names = {"id", "prompt", "response_a", "response_b"};
  return names;
}

std::vector<std::string> turns_of(const Json& pair, const char* key, const std::string& where) {
  auto found = pair.find(key);
  if (found == pair.end()) fail("{}key '{}' is missing: expected prompt, response_a and response_b", where, key);
  if (found->is_string()) return {found->get<std::string>()};
  bool is_list = found->is_array() && !found->empty();
  std::vector<std::string> turns;
  if (is_list)
    for (const Json& turn : *found) {
      if (!turn.is_string() && !turn.is_null())
        fail("{}key '{}': a turn is {}, expected a text", where, key, turn.type_name());
      turns.push_back(turn.is_null() ? "" : turn.get<std::string>());
    }
  if (!is_list)
    fail("{}key '{}' is {}, expected a text or a list of texts", where, key,
         found->is_array() ? "an empty list" : found->type_name());
  return turns;
}

PreferenceRow pair_of(const Json& pair, size_t number, bool only) {
  std::string where = only ? "" : fmt::format("pair {}: ", number);
  if (!pair.is_object())
    fail("{}expected an object with prompt, response_a and response_b, found {}", where, pair.type_name());
  for (const auto& [key, value] : pair.items())
    if (std::find(keys().begin(), keys().end(), key) == keys().end() && !nearest(key, keys()).empty())
      fail("{}unknown key '{}'{}", where, key, did_you_mean(key, keys()));
  PreferenceRow row;
  row.source_row = static_cast<int64_t>(number);
  row.id = std::to_string(number);
  if (auto id = pair.find("id"); id != pair.end() && !id->is_null()) {
    if (!id->is_string() && !id->is_number())
      fail("{}key 'id' is {}, expected a text or a number", where, id->type_name());
    row.id = id->is_string() ? id->get<std::string>() : id->dump();
  }
  row.prompt = turns_of(pair, "prompt", where);
  row.response_a = turns_of(pair, "response_a", where);
  row.response_b = turns_of(pair, "response_b", where);
  return row;
}

/** A copy of JSON in which integers beyond 64 bits, as ids may be, are texts with all their digits: the library would make
 * floating-point numbers of them. False when there are none. */
bool quote_large_integers(std::string_view text, std::string& out) {
  constexpr size_t kDigits = 19;  // as many as 2^63 - 1 has
  size_t copied = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '"' || in_string) {
      if (in_string && text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        in_string = !in_string;
      ++i;
      continue;
    }
    const std::string_view number =
        text.substr(i, std::min(text.find_first_not_of("+-.0123456789eE", i), text.size()) - i);
    if (number.empty()) {
      ++i;
      continue;
    }
    const std::string_view digits = number.substr(number[0] == '-' ? 1 : 0);
    const bool whole = digits.size() >= kDigits && digits[0] != '0' &&
                       digits.find_first_not_of("0123456789") == std::string_view::npos;
    const auto fits = [&](auto value) {
      return std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc();
    };
    if (whole && !fits(int64_t{0}) && !fits(uint64_t{0})) {
      out += text.substr(copied, i - copied);
      out += fmt::format("\"{}\"", number);
      copied = i + number.size();
    }
    i += number.size();
  }
  if (copied > 0) out += text.substr(copied);
  return copied > 0;
}

}  // namespace

nlohmann::json parse_shallow(std::string_view text) {
  if (json_is_deeper(text, 8))
    fail("the JSON is nested too deeply: expected texts, or lists of them, under a few keys");
  std::string mended;
  if (replace_lone_surrogates(text, mended) > 0) text = mended;
  std::string quoted;
  if (quote_large_integers(text, quoted)) text = quoted;
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    std::string why = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the part in brackets is no help.
    fail("not valid JSON: {}", why.substr(why.find("] ") == std::string::npos ? 0 : why.find("] ") + 2));
  }
}

std::vector<PreferenceRow> pairs_from_json(std::string_view text, size_t most_pairs) {
  const Json json = parse_shallow(text);
  std::vector<PreferenceRow> rows;
  if (!json.is_array()) return {pair_of(json, 1, true)};
  if (json.empty()) fail("the list holds no pair");
  if (json.size() > most_pairs) fail("the list holds {} pairs, at most {} are taken at once", json.size(), most_pairs);
  for (const Json& pair : json) rows.push_back(pair_of(pair, rows.size() + 1, false));
  return rows;
}

nlohmann::ordered_json verdict_json(const PreferenceRow& row, const Verdict& verdict) {
  nlohmann::ordered_json json;
  json["id"] = row.id;
  json["verdict"] = kOutcomes[verdict.best()];
  for (size_t i = 0; i < 3; ++i) json["probabilities"][kOutcomes[i]] = verdict.probabilities[i];
  if (const auto& rewards = verdict.rewards) json["rewards"] = {{"A", (*rewards)[0]}, {"B", (*rewards)[1]}};
  json["tokens"] = verdict.length + verdict.length_b;
  json["truncated"] = verdict.full_length > verdict.length;
  if (verdict.swapped_logits) json["agrees"] = !verdict.flipped();
  return json;
}

}  // namespace gavel
