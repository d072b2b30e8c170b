#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "recipe/recipe.h"
#include "setup/open_model.h"
#include "text/tokenizer.h"

namespace gavel {

// What the head starts from where model.head asks for more than random numbers. All functions throw Error that says what to
// do when they can't.

/** The token that a language model would answer with behind the judged text. */
struct AnswerToken {
  std::string answer;  // "A", "B" or "tie"
  int32_t id = 0;
  std::string token;  // as tokenizer.json spells it
};

/** Of each label, the first token of its answer, as the tokenizer makes it at the end of the recipe's text. Throws Error
 * where an answer changes the tokens before it, or two answers begin alike. */
std::vector<AnswerToken> answer_tokens(const Recipe& recipe, const Tokenizer& tokenizer);

/** The head [num_labels, hidden], float32, as model.head says; nullopt for random numbers. Rows of the language model's head
 * are taken as they are: both heads read the last layer's output behind the final norm, so that the logits are the
 * language model's own. Throws Error when the base lacks what it is to be taken from or has it in another shape. */
std::optional<HostTensor> initial_head(const Recipe& recipe, int64_t num_labels, const BaseModel& base);

}  // namespace gavel
