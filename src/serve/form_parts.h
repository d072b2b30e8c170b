#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "judge/rank.h"
#include "serve/forms.h"

namespace gavel {

using AnswerJson = nlohmann::ordered_json;

/** The body's object. Throws Error when it is none. */
nlohmann::json object_of(std::string_view body);

/** A text, {"text": text}, or a list of these: at least one. Throws Error naming the key. */
std::vector<std::string> texts_of(const nlohmann::json& object, const char* key);

/** A key that is true or false, or nothing where it is missing or null. Throws Error naming the key. */
std::optional<bool> flag_of(const nlohmann::json& object, const char* key);

/** Texts that are judged one by one, as rows, and where each stands in the verdicts on them. */
class TextRows {
 public:
  /** Throws Error where the judge reads no texts that are written out. */
  void add_written_out(std::string text, const FormContext& context, const char* key);
  /** What is asked of is answer A. */
  void add_row(PreferenceRow row);
  /** Throws Error where that is more than a request may have. */
  const std::vector<PreferenceRow>& rows(size_t most_pairs) const;

  size_t size() const { return places_.size(); }
  const Verdict& verdict(std::span<const Verdict> verdicts, size_t text) const { return verdicts[places_[text].row]; }
  double reward(std::span<const Verdict> verdicts, size_t text) const;
  /** Tokens read, each text of a reward counted once. */
  int64_t tokens(std::span<const Verdict> verdicts, JudgeKind kind) const;

 private:
  struct Place {
    size_t row, side;
  };
  std::vector<PreferenceRow> rows_;
  std::vector<Place> places_;
  /** Of a reward: the last row has one text on both sides. */
  bool half_ = false;
};

/** A row of a list of messages ({"role", "content"}): the user's and the assistant's in turn, after at most one of the system, whose
 * text stands before the first of the user, as in files of conversations. A reward's ends with the answer, which is A and B alike; a
 * judge's with two messages of the assistant, A and B, and both share what was said before. Throws Error naming the message. */
PreferenceRow conversation_of(const nlohmann::json& messages, JudgeKind kind);

/** candidate_rows(), or Error where that is more than a request may have. */
std::vector<PreferenceRow> rows_within(std::span<const Candidates> all, size_t most_pairs);

}  // namespace gavel
