#include "setup/initial_head.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/log.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

/** The base's own head, where it is there. */
std::optional<HostTensor> head_of_base(const Recipe& recipe, int64_t num_labels, const BaseModel& base) {
  const TensorSpec head = head_spec(base.spec, num_labels);
  const bool there = base.files && base.files->has(head.name);
  if (recipe.model.head == Recipe::Head::kBase && !there)
    fail("model.head: base, but {} has no '{}': set model.head=fresh", recipe.model.path, head.name);
  if (!there) return std::nullopt;
  if (const Shape& found = base.files->shape(head.name); found != head.shape)
    fail(
        "model.head: '{}' of {} has shape {}{}, this task's head has {}: set model.head=fresh to start from a random "
        "one",
        head.name, recipe.model.path, to_string(found), found.front() == 1 ? " (a reward model's)" : "",
        to_string(head.shape));
  spdlog::info("the head starts from '{}' of the base", head.name);
  return base.files->read(head.name, DType::kF32);
}

/** The tensor whose row of a token gives the token's logit. */
std::string language_model_head(const Recipe& recipe, const BaseModel& base) {
  if (!base.files)
    fail("model.head: labels needs a language model's weights, which model.random_init does not read: set another");
  const bool tied = base.files->config().tie_word_embeddings;
  const std::string& name = tied ? base.spec.embeddings.name : base.spec.language_model_head.name;
  if (!base.files->has(name))
    fail(
        "model.head: labels, but {} has no '{}', and its embeddings are not tied to it: take a language model, or set "
        "model.head=shares",
        recipe.model.path, name);
  return name;
}

HostTensor head_of_answers(const Recipe& recipe, const BaseModel& base) {
  const std::string name = language_model_head(recipe, base);
  const HostTensor whole = base.files->read(name, DType::kF32);
  if (whole.shape() != base.spec.embeddings.shape)
    fail("model.head: '{}' of {} has shape {}, expected {}", name, recipe.model.path, to_string(whole.shape()),
         to_string(base.spec.embeddings.shape));
  const std::vector<AnswerToken> answers = answer_tokens(recipe, base.tokenizer);
  const auto hidden = static_cast<size_t>(base.spec.hidden_size);
  HostTensor head(DType::kF32, {static_cast<int64_t>(answers.size()), base.spec.hidden_size});
  std::vector<std::string> said;
  for (size_t label = 0; label < answers.size(); ++label) {
    const auto row = whole.as<float>().subspan(static_cast<size_t>(answers[label].id) * hidden, hidden);
    std::copy(row.begin(), row.end(), head.as_mutable<float>().begin() + static_cast<std::ptrdiff_t>(label * hidden));
    said.push_back(fmt::format("'{}' ({}) for {}", answers[label].token, answers[label].id, answers[label].answer));
  }
  base.files->release(name);
  spdlog::info("the head starts from rows of '{}': {}", name, fmt::join(said, ", "));
  return head;
}

/** The ids of the recipe's text with `more` behind it. */
std::vector<int32_t> ids_of(const Tokenizer& tokenizer, const Template::Framed& text, std::string_view more) {
  std::vector<int32_t> ids;
  tokenizer.encode_around(text.text + std::string(more), text.foreign, ids);
  return ids;
}

}  // namespace

std::vector<AnswerToken> answer_tokens(const Recipe& recipe, const Tokenizer& tokenizer) {
  if (!tokenizer.suffix().empty())
    fail(
        "model.head: labels: the tokenizer ends every text with '{}', behind which no answer comes: set "
        "model.head=shares",
        tokenizer.id_to_token(tokenizer.suffix().front()));
  PreferenceRow row;
  row.prompt = {"Why?"};
  row.response_a = {"So."};
  row.response_b = {"Because."};
  const Template::Framed text = tokenize_options(recipe, tokenizer).text.render_framed(row, false);
  const std::vector<int32_t> before = ids_of(tokenizer, text, "");
  // Behind a line's end an answer begins at once, behind a word with a space.
  const bool line_end = std::isspace(static_cast<unsigned char>(text.text.back())) != 0;
  std::vector<AnswerToken> answers;
  for (const char* answer : {"A", "B", "tie"}) {
    if (static_cast<int64_t>(answers.size()) == recipe.model.num_labels) break;
    const std::vector<int32_t> ids = ids_of(tokenizer, text, (line_end ? "" : " ") + std::string(answer));
    if (ids.size() <= before.size() || !std::equal(before.begin(), before.end(), ids.begin()))
      fail(
          "model.head: labels: '{}' behind the text changes the tokens before it: let data.template or data.question "
          "end "
          "otherwise, such as with a colon",
          answer);
    const int32_t id = ids[before.size()];
    for (const AnswerToken& other : answers)
      if (other.id == id)
        fail("model.head: labels: the answers {} and {} begin with the same token, '{}' ({}): set model.head=shares",
             other.answer, answer, tokenizer.id_to_token(id), id);
    answers.push_back({answer, id, tokenizer.id_to_token(id)});
  }
  return answers;
}

std::optional<HostTensor> initial_head(const Recipe& recipe, int64_t num_labels, const BaseModel& base) {
  using enum Recipe::Head;
  switch (recipe.model.head) {
    case kFresh:
      return std::nullopt;
    case kShares:
      return HostTensor(DType::kF32, {num_labels, base.spec.hidden_size});
    case kLabels:
      return head_of_answers(recipe, base);
    case kAuto:
    case kBase:
      break;
  }
  return head_of_base(recipe, num_labels, base);
}

}  // namespace gavel
