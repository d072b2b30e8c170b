#include "setup/run_options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/file.h"
#include "data/encode.h"
#include "io/expect_error.h"
#include "setup/open_model.h"
#include "setup/tiny_tokenizer.h"
#include "spec/family.h"

namespace gavel {
namespace {

TEST(RunOptions, TextsLongerThanTheRopeCanTurnAreRefused) {
  Recipe recipe;
  recipe.model.path = "models/long";
  recipe.train.kernels = Recipe::Kernels::kPlain;
  ModelConfig config = built_in_shape("smollm2-135m");
  config.max_position_embeddings = 512;
  config.rope.scaling.type = "dynamic";
  config.rope.scaling.factor = 2;
  const DecoderSpec spec = decoder_spec(config);
  const DeviceTraits device;
  recipe.data.max_length = 512;
  EXPECT_NO_THROW(step_options(recipe, spec, device));
  recipe.data.max_length = 513;
  expect_error([&] { step_options(recipe, spec, device); },
               {"data.max_length is 513", "the rope of models/long", "up to 512 tokens"});
}

TEST(RunOptions, AnOpenMeshHasCopiesWhereTheyFit) {
  Recipe recipe;
  recipe.mesh.dp = recipe.mesh.fsdp = -1;
  recipe.lora.r = 4;
  const StepOptions step = step_options(recipe, decoder_spec(built_in_shape("llama-3-8b")), DeviceTraits());
  // 15 GB of weights.
  EXPECT_EQ(choose_mesh(recipe, step, 8, 34'000'000'000).mesh, (Mesh{8, 1, 1}));
  EXPECT_EQ(choose_mesh(recipe, step, 8, 17'000'000'000).mesh, (Mesh{1, 8, 1}));
  EXPECT_EQ(choose_mesh(recipe, step, 8, -1).mesh, (Mesh{1, 8, 1}));
  EXPECT_EQ(choose_mesh(recipe, step, 1, 17'000'000'000).mesh, (Mesh{1, 1, 1}));
  EXPECT_EQ(choose_mesh(recipe, step, 1, 17'000'000'000).note, "");
  const std::string note = choose_mesh(recipe, step, 8, 34'000'000'000).note;
  EXPECT_TRUE(note.starts_with("mesh auto: 8x1x1 (dp x fsdp x mp): weights and state, 15.")) << note;
  EXPECT_TRUE(note.ends_with("GB, take less than half of a device's 34.0 GB, so each device has a copy")) << note;
  recipe.mesh.mp = 2;  // halves them
  EXPECT_EQ(choose_mesh(recipe, step, 8, 17'000'000'000).mesh, (Mesh{4, 1, 2}));
  recipe.mesh.fsdp = 2;
  EXPECT_EQ(choose_mesh(recipe, step, 8, 34'000'000'000).mesh, (Mesh{2, 2, 2}));
  recipe.mesh.fsdp = 8;
  expect_error([&] { choose_mesh(recipe, step, 8, 0); }, {"mesh"});
}

TEST(RunOptions, AFrozenHeadIsHeldAndNothingElse) {
  const DecoderSpec spec = decoder_spec(built_in_shape("smollm2-135m"));
  for (bool freeze : {false, true}) {
    Recipe recipe;
    recipe.lora.freeze_head = freeze;
    recipe.train.kernels = Recipe::Kernels::kPlain;
    const TrainableLayout layout = trainable_layout(step_options(recipe, spec, DeviceTraits()).model);
    for (size_t i = 0; i < layout.parameters.size(); ++i)
      EXPECT_EQ(layout.parameters[i].held, freeze && i == layout.head) << layout.parameters[i].name;
  }
}

TEST(RunOptions, WhatIsReadBesideVotesArrivesInTrainingAlone) {
  Recipe recipe;
  recipe.data.columns.teacher_a = "ta";
  recipe.data.columns.teacher_b = "tb";
  recipe.data.columns.auxiliary = {"by_a", "by_b"};
  recipe.data.curriculum = Curriculum::kLength;
  recipe.train.max_steps = 70;
  recipe.train.auxiliary_weight = 0.3;
  recipe.train.kernels = Recipe::Kernels::kPlain;
  const ReadOptions training = training_read_options(recipe, Purpose::kTrain);
  EXPECT_EQ(training.columns.teacher_b, "tb");
  EXPECT_EQ(training.columns.teacher_tie, "");
  EXPECT_EQ(training.columns.auxiliary_a, "by_a");
  EXPECT_EQ(training.columns.auxiliary_b, "by_b");
  const ReadOptions other = read_options(recipe, Purpose::kTrain);
  EXPECT_EQ(other.columns.teacher_a + other.columns.auxiliary_a, "");
  EXPECT_EQ(batch_options(recipe, DeviceTraits()).curriculum, Curriculum::kLength);
  EXPECT_EQ(batch_options(recipe, DeviceTraits()).curriculum_steps, 70);
  const StepOptions step = step_options(recipe, decoder_spec(built_in_shape("smollm2-135m")), DeviceTraits());
  EXPECT_EQ(step.auxiliary_weight, 0.3);
  EXPECT_EQ(step.model.auxiliary_outputs, 0) << "only the data tell";
}

TEST(RunOptions, WhatAttentionMayTakeForGrantedArrives) {
  const DecoderSpec spec = decoder_spec(built_in_shape("smollm2-135m"));
  Recipe recipe;
  recipe.train.kernels = Recipe::Kernels::kPlain;
  for (const auto& [batching, one_text] : {std::pair(Batching::kPadded, true), std::pair(Batching::kBucketed, true),
                                           std::pair(Batching::kPacked, false)}) {
    recipe.data.batching = batching;
    EXPECT_EQ(step_options(recipe, spec, DeviceTraits()).model.one_text, one_text);
  }
  EXPECT_FALSE(step_options(recipe, spec, DeviceTraits()).model.deterministic);
  recipe.train.deterministic = true;
  EXPECT_TRUE(step_options(recipe, spec, DeviceTraits()).model.deterministic);
}

TEST(RunOptions, WhatIsComputedAgainIsChosenOnAcceleratorsAlone) {
  const DecoderSpec spec = decoder_spec(built_in_shape("smollm2-135m"));
  Recipe recipe;
  const StepOptions host = step_options(recipe, spec, device_traits("cpu", false));
  EXPECT_FALSE(host.chooses_recompute);
  EXPECT_EQ(host.model.form, LayerForm::kUnrolled);
  EXPECT_TRUE(step_options(recipe, spec, device_traits("tpu", false)).chooses_recompute);
  recipe.train.recompute = Recipe::Recompute::kAttention;
  for (const char* platform : {"cpu", "tpu"}) {
    const StepOptions asked = step_options(recipe, spec, device_traits(platform, false));
    EXPECT_FALSE(asked.chooses_recompute);
    EXPECT_EQ(asked.model.form, LayerForm::kScan) << "written-out layers compute nothing again";
    EXPECT_EQ(asked.model.recompute, Recompute::kAttention);
  }
}

TEST(RunOptions, RatesAndLayersArrive) {
  const DecoderSpec spec = decoder_spec(built_in_shape("smollm2-135m"));
  Recipe recipe;
  recipe.train.kernels = Recipe::Kernels::kPlain;
  EXPECT_TRUE(step_options(recipe, spec, DeviceTraits()).rates.alike());
  EXPECT_TRUE(step_options(recipe, spec, DeviceTraits()).model.lora.layers_to_transform.empty());
  recipe.train.learning_rate = 1e-4;
  recipe.train.head_learning_rate = 5e-4;
  recipe.train.head_only_steps = 7;
  recipe.lora.lora_plus_ratio = 16;
  recipe.lora.layer_decay = 0.9;
  recipe.lora.layers_to_transform = {{8, 9}};
  const StepOptions step = step_options(recipe, spec, DeviceTraits());
  EXPECT_DOUBLE_EQ(step.rates.head, 5);
  EXPECT_EQ(step.rates.head_only_steps, 7);
  EXPECT_EQ(step.rates.lora_b, 16);
  EXPECT_EQ(step.rates.layer_decay, 0.9);
  EXPECT_EQ(step.model.lora.layers_to_transform, (std::vector<int64_t>{8, 9}));
}

// The folders of ../shared/cases/gguf_and_chat/chat-*, with what transformers' apply_chat_template gives there.
struct ChatCase {
  const char* name;
  const char* before;
  const char* after;
};

class ChatFolders : public testing::TestWithParam<ChatCase> {};

TEST_P(ChatFolders, AreRenderedAsTransformersDoes) {
  const char* given = std::getenv("GAVEL_SHARED");
  const std::filesystem::path shared = given ? given : std::filesystem::path(GAVEL_SOURCE_DIR) / "../shared";
  const std::filesystem::path folder = shared / "cases" / "gguf_and_chat" / GetParam().name / "base";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no folder " << folder;
  const Tokenizer tokenizer = Tokenizer::load(folder);
  Recipe recipe;
  recipe.data.text_template = "turns";
  PreferenceRow row;
  row.prompt = {"hi"};
  row.response_a = {"yes"};
  row.response_b = {"no"};
  const std::string turns = tokenize_options(recipe, tokenizer).text.render(row, false);
  recipe.data.text_template = "chat";
  const TokenizeOptions options = tokenize_options(recipe, tokenizer);
  EXPECT_EQ(options.text.render(row, false), GetParam().before + turns + GetParam().after);
  // One begin token, where there is one: the tokenizer's or the template's.
  const std::vector<int32_t> ids = encode_row(row, false, {.text = options.text}, make_encoder(tokenizer)).ids;
  const auto begins = std::count(ids.begin(), ids.end(), tokenizer.bos_id().value_or(-1));
  const bool expected = !tokenizer.prefix().empty() || std::string_view(GetParam().before).starts_with("<s>");
  EXPECT_EQ(begins, expected ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, ChatFolders,
    testing::Values(
        ChatCase{"chat-default-system",
                 "<|im_start|>system\nYou are a helpful AI assistant named Tiny<|im_end|>\n<|im_start|>user\n",
                 "<|im_end|>\n<|im_start|>assistant\n"},
        ChatCase{"chat-phi4", "<|im_start|>user<|im_sep|>", "<|im_end|><|im_start|>assistant<|im_sep|>"},
        ChatCase{"chat-llama31-date",
                 "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: "
                 "26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
                 "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"}),
    [](const auto& info) {
      std::string name = info.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

class ChatTokenizers : public testing::Test {
 protected:
  std::filesystem::path folder(const std::string& config, bool begins) {
    const std::filesystem::path path = std::filesystem::path(GAVEL_BINARY_DIR) / "setup_test" / "chat";
    std::filesystem::remove_all(path);
    make_folder(path);
    std::string json = tiny_tokenizer();
    if (begins)
      json.replace(
          json.find("\"post_processor\":null"), 21,
          R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>","type_id":0}},)"
          R"({"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<x>":{"id":"<x>","ids":[0],)"
          R"("tokens":["<x>"]}}})");
    json.insert(
        json.find("{\"id\":2,"),
        R"({"id":0,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},)");
    write_file(path / "tokenizer.json", json);
    write_file(path / "tokenizer_config.json", config);
    return path;
  }
};

TEST_F(ChatTokenizers, ABeginTokenStandsOnce) {
  PreferenceRow row;
  row.prompt = {"<x>"};
  row.response_a = {"a"};
  row.response_b = {"b"};
  Recipe recipe;
  recipe.data.text_template = "chat";
  for (bool tokenizer_writes : {false, true})
    for (const char* text : {"{{ bos_token }}u {{ messages[0].content }}", "u {{ messages[0].content }}"}) {
      const Tokenizer tokenizer = Tokenizer::load(
          folder(fmt::format(R"({{"bos_token": "<x>", "chat_template": "{}"}})", text), tokenizer_writes));
      ASSERT_EQ(tokenizer.prefix().size(), tokenizer_writes ? 1U : 0U);
      const TokenizeOptions options = tokenize_options(recipe, tokenizer);
      const std::vector<int32_t> ids = encode_row(row, false, {.text = options.text}, make_encoder(tokenizer)).ids;
      const bool expected = tokenizer_writes || std::string_view(text).starts_with("{{ bos");
      // What the prompt writes is text.
      EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), expected ? 1 : 0) << text << tokenizer_writes;
      if (expected) {
        EXPECT_EQ(ids.front(), 0);
      }
    }
  const Tokenizer without = Tokenizer::load(folder("{}", false));
  expect_error([&] { tokenize_options(recipe, without); }, {"data.template: chat", "has no chat template", "{prompt}"});
}

}  // namespace
}  // namespace gavel
