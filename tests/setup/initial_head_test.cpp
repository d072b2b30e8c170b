// What the head starts from: equal shares, or the language model's rows of the answers' tokens.
#include "setup/initial_head.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/file.h"
#include "engine/engine.h"
#include "io/expect_error.h"
#include "io/model_path.h"
#include "io/safetensors.h"
#include "setup/run_options.h"
#include "setup/test_support.h"
#include "setup/tiny_tokenizer.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class InitialHead : public testing::Test {
 protected:
  void SetUp() override {
    fs::copy(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden", model(), fs::copy_options::recursive);
    write_file(model() / "tokenizer.json", tiny_tokenizer());
  }

  fs::path model() const { return scratch_.path() / "model"; }
  Recipe recipe(std::vector<std::string> settings = {}) const {
    // Behind a line's end the tiny tokenizer's answers begin with letters, behind a word all with a space.
    settings.insert(settings.begin(), {"model.path=" + model().string(), "data.train=t", "output=o",
                                       "model.head=labels", R"(data.template="{prompt} {response_a} {response_b}\n")"});
    return parse_recipe("", "test", settings);
  }
  /** Gives the model a language model's head of these rows. */
  void add_head(float first) const {
    auto file = SafetensorsFile::open(model() / "model.safetensors");
    std::vector<std::pair<std::string, HostTensor>> tensors;
    for (const auto& [name, info] : file->tensors()) tensors.emplace_back(name, file->tensor(name).to(DType::kF32));
    HostTensor head(DType::kF32, {48, 24});
    for (size_t i = 0; i < 48 * 24; ++i) head.as_mutable<float>()[i] = first + static_cast<float>(i);
    tensors.emplace_back("lm_head.weight", head);
    write_safetensors(scratch_.path() / "with_head", tensors, {});
    fs::rename(scratch_.path() / "with_head", model() / "model.safetensors");
  }
  void set_config(const std::string& from, const std::string& to) const {
    std::string text = read_text(model() / "config.json");
    ASSERT_NE(text.find(from), std::string::npos);
    write_file(model() / "config.json", text.replace(text.find(from), from.size(), to));
  }

  TempFolder scratch_{"gavel_initial_head"};
};

std::vector<float> row_of_head(const HostTensor& head, size_t label) {
  auto row = head.as<float>().subspan(label * 24, 24);
  return {row.begin(), row.end()};
}

TEST_F(InitialHead, LabelsAreRowsOfTheLanguageModelsHead) {
  add_head(7);
  const Recipe wanted = recipe();
  const BaseModel base = open_base_model(wanted);
  std::vector<int32_t> ids;
  for (const AnswerToken& answer : answer_tokens(wanted, base.tokenizer)) ids.push_back(answer.id);
  EXPECT_THAT(ids, ElementsAre(36, 37, 22));  // A, B, and the t of tie: the tiny tokenizer's words are letters
  const HostTensor head = *initial_head(wanted, 3, base);
  ASSERT_EQ(head.shape(), (Shape{3, 24}));
  for (size_t label = 0; label < 3; ++label)
    for (size_t i = 0; i < 24; ++i)
      ASSERT_EQ(row_of_head(head, label)[i], 7 + static_cast<float>(24 * static_cast<size_t>(ids[label]) + i));
  const Recipe two = recipe({"model.num_labels=2"});
  EXPECT_EQ(initial_head(two, 2, base)->shape(), (Shape{2, 24}));
}

TEST_F(InitialHead, LabelsOfTiedModelsAreEmbeddings) {
  add_head(7);
  set_config("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
  const BaseModel base = open_base_model(recipe());
  const HostTensor embeddings = base.files->read(base.spec.embeddings.name, DType::kF32);
  const HostTensor head = *initial_head(recipe(), 3, base);
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(row_of_head(head, 1)[i], embeddings.as<float>()[37 * 24 + i]);
}

TEST_F(InitialHead, SharesAreZeros) {
  const Recipe wanted = recipe({"model.head=shares"});
  const HostTensor head = *initial_head(wanted, 3, open_base_model(wanted));
  EXPECT_EQ(head.shape(), (Shape{3, 24}));
  EXPECT_THAT(row_of_head(head, 2), testing::Each(0.0f));
}

TEST_F(InitialHead, WhatCanNotBeTakenIsRefused) {
  expect_error([&] { initial_head(recipe(), 3, open_base_model(recipe())); },
               {"has no 'lm_head.weight'", "model.head=shares"});
  expect_error(
      [&] {
        const Recipe random = recipe({"model.random_init=true"});
        initial_head(random, 3, open_base_model(random));
      },
      {"model.random_init"});
  add_head(0);
  const Recipe alike = recipe({"data.template=origin", "data.question=Well?", "data.truncation=left"});
  expect_error([&] { initial_head(alike, 3, open_base_model(alike)); }, {"A and B begin with the same token", "(29)"});
}

/** The tokens that transformers' tokenizer makes of the answers behind the text, and the language model's own
 * probabilities of them there, by tools/compare_label_head.py's way. */
TEST(InitialHeadOfSmolLm2, GivesTheLanguageModelsProbabilities) {
  if (!is_fetched_model("smollm2-135m-instruct")) GTEST_SKIP() << "the set-up has not fetched the model";
  const Recipe wanted =
      parse_recipe("", "test",
                   {"model.path=smollm2-135m-instruct", "data.train=t", "output=o", "model.head=labels",
                    "data.question=default", "data.truncation=left", "model.dtype=float32",
                    "model.compute_dtype=float32", "train.kernels=plain", "train.layers=scan"});
  const BaseModel base = open_base_model(wanted);
  std::vector<int32_t> ids;
  for (const AnswerToken& answer : answer_tokens(wanted, base.tokenizer)) ids.push_back(answer.id);
  EXPECT_THAT(ids, ElementsAre(330, 389, 15805));
  ids.clear();
  Recipe chat = wanted;
  chat.data.text_template = "chat";
  for (const AnswerToken& answer : answer_tokens(chat, base.tokenizer)) ids.push_back(answer.id);
  EXPECT_THAT(ids, ElementsAre(49, 50, 36521));

  const StepOptions step = step_options(wanted, base.spec, *test_client());
  Engine engine(test_client(), step, test_compile_cache());
  load_weights(engine, wanted, base);
  engine.set_trainable(initial_trainable(wanted, step, base));
  PreferenceRow row;
  row.prompt = {"Name a prime number."};
  row.response_a = {"Seven."};
  row.response_b = {"I like the number nine, which is odd."};
  const std::vector<PreferenceRow> rows = {row};
  const TokenizedDataset data = tokenize(rows, tokenize_options(wanted, base.tokenizer), make_encoder(base.tokenizer));
  BatchOptions options;
  options.batch_size = 1;
  options.max_length = data.length(0);
  const Evaluation found = engine.evaluate(Batcher(data, options).step(0).micro[0]);
  const auto logits = found.logits.as<float>();
  const double sum = std::exp(double{logits[0]}) + std::exp(double{logits[1]}) + std::exp(double{logits[2]});
  const double expected[] = {0.8463237, 0.1444728, 0.0092035};
  for (size_t label = 0; label < 3; ++label) EXPECT_NEAR(std::exp(double{logits[label]}) / sum, expected[label], 2e-5);
}

}  // namespace
}  // namespace gavel
