#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pieces/normalizer.h"
#include "pieces/pretokenizer.h"

namespace gavel {

/** Whether no space is left of any text behind these steps, each having become U+2581 or something else. */
bool spaces_vanish(const Normalizer& normalizer, const std::vector<PreTokenizer::Stage>& stages);

/** Takes out the stages that can't find anything because they look for a space where there is none any more, as the
 * pre-tokenizer of Gemma does. */
void drop_idle_stages(const Normalizer& normalizer, std::vector<PreTokenizer::Stage>& stages);

/** The short way of tokenizers that do no more to a text than to mark its spaces, to put one in front, and to cut it at
 * words that hold none: the text is given to the model with ' ' for each mark, mostly as it lies. */
class MarkedText {
 public:
  /** nullopt when normalizer and pre-tokenizer do more than that. */
  static std::optional<MarkedText> of(const Normalizer& normalizer, const std::vector<PreTokenizer::Stage>& stages,
                                      const std::string& source);

  /** What the model is given for a part of a text: the part itself, or in `buffer`. `at_start`: nothing stands before. */
  std::string_view run(std::string_view part, bool at_start, std::string& buffer) const;
  /** Whether each space begins a piece. */
  bool split() const { return split_; }
  /** What else cuts the result of run(). */
  const PreTokenizer& rest() const { return rest_; }

 private:
  enum class Front {
    kNothing,
    kAlways,
    kMissing,
    kMissingAtStart
  };  // a space in front; "missing": unless there is one
  Front front_ = Front::kNothing;
  bool split_ = false;
  PreTokenizer rest_;
};

}  // namespace gavel
