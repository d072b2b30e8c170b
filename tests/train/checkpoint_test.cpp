#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "io/model_files.h"
#include "setup/test_support.h"
#include "train/resume.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

bool same_bits(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].shape() != b[i].shape() || std::memcmp(a[i].data(), b[i].data(), a[i].bytes()) != 0) return false;
  return true;
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::path golden = fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden";
    layout_.spec = ModelFiles::open(golden).spec();
    layout_.adapter.lora = adapter_settings(PeftConfig::read(golden / "adapter"), layout_.spec);
    layout_.recipe = "train: {}\n";
    float next = 0.1f;
    for (const auto& spec : trainable_layout(layout_.spec, layout_.adapter.lora, layout_.num_labels).parameters)
      for (auto* list : {&trained_.weights, &trained_.m, &trained_.v}) {
        HostTensor value(DType::kF32, spec.shape);
        for (float& number : value.as_mutable<float>()) number = next = next * 1.37f - 0.4f * next * next;
        list->push_back(std::move(value));
      }
    identity_.recipe = {{"train.seed", "1"}, {"data.train", "a.csv"}, {"output", "x"}};
    identity_.files = {{"data.train", "a.csv", {10, 7}}};
  }
  RunState state(int64_t step) const {
    RunState state;
    state.step = step;
    state.loss_sum = 1.0 / 3;
    state.best = BestEvaluation{std::min<int64_t>(step, 4), 0.1 + 0.2, 0.5};
    return state;
  }
  void save(int64_t step) const { store_.save(layout_, state(step), identity_, trained_); }
  std::optional<SavedRun> newest() {
    skipped_.clear();
    return store_.newest([this](const std::string& text) { skipped_.push_back(text); });
  }

  TempFolder scratch_{"gavel_checkpoint_test"};
  CheckpointStore store_{scratch_.path() / "checkpoints"};
  CheckpointLayout layout_;
  TrainedState trained_;
  RunIdentity identity_;
  std::vector<std::string> skipped_;
};

TEST_F(CheckpointTest, ComesBackBitForBit) {
  save(7);
  auto saved = newest();
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->state, state(7));
  EXPECT_TRUE(changes(saved->identity, identity_).empty());
  TrainedState back = store_.load(*saved, layout_);
  EXPECT_TRUE(same_bits(back.weights, trained_.weights));
  EXPECT_TRUE(same_bits(back.m, trained_.m));
  EXPECT_TRUE(same_bits(back.v, trained_.v));
}

TEST_F(CheckpointTest, AnAuxiliaryHeadComesBackAndIsInNoAdapter) {
  save(3);
  auto values = [&](float first) {
    HostTensor head(DType::kF32, {4, layout_.spec.hidden_size});
    for (float& number : head.as_mutable<float>()) number = first += 0.25f;
    return head;
  };
  layout_.auxiliary_outputs = 4;
  trained_.weights.push_back(values(0));
  trained_.m.push_back(values(1));
  trained_.v.push_back(values(2));
  save(7);
  EXPECT_EQ(read_text(store_.path(7) / "adapter_model.safetensors"),
            read_text(store_.path(3) / "adapter_model.safetensors"));
  const TrainedState back = store_.load(*newest(), layout_);
  EXPECT_TRUE(same_bits(back.weights, trained_.weights));
  EXPECT_TRUE(same_bits(back.m, trained_.m));
  EXPECT_TRUE(same_bits(back.v, trained_.v));
  EXPECT_EQ(adapter_weights(layout_, back.weights).size(), back.weights.size() - 1);
  layout_.auxiliary_outputs = 6;
  try {
    store_.load(*newest(), layout_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("another number of classes"));
  }
}

TEST_F(CheckpointTest, EveryDamageIsSeenNamedAndPassedOver) {
  save(3);
  save(12);
  for (const auto& entry : fs::directory_iterator(store_.path(12))) {
    std::string whole = read_text(entry.path());
    auto expect_seen = [&](const std::string& what) {
      auto found = newest();
      ASSERT_TRUE(found) << what;
      EXPECT_EQ(found->state.step, 3) << what;
      ASSERT_EQ(skipped_.size(), 1u) << what;
      EXPECT_THAT(skipped_[0], HasSubstr("step-12")) << what;
    };
    std::string name = entry.path().filename().string();
    for (size_t at : {size_t{0}, whole.size() / 2, whole.size() - 3}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      write_file(entry.path(), damaged);
      expect_seen(name + " at " + std::to_string(at));
    }
    write_file(entry.path(), whole.substr(0, whole.size() / 2));
    expect_seen("half of " + name);
    fs::remove(entry.path());
    expect_seen("no " + name);
    write_file(entry.path(), whole);
  }
  EXPECT_EQ(newest()->state.step, 12);
}

TEST_F(CheckpointTest, KeepsTheLastAndTheBest) {
  for (int64_t step : {2, 4, 6, 8, 10}) save(step);
  store_.prune(2, 4);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{4, 8, 10}));
  store_.prune(1, std::nullopt);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{10}));
}

TEST_F(CheckpointTest, AFailedSaveLeavesTheEarlierOnes) {
  save(2);
  fs::rename(store_.folder(), scratch_.path() / "moved");
  write_file(store_.folder(), "a file where the folder should be");
  EXPECT_THROW(save(4), Error);
  fs::remove(store_.folder());
  fs::rename(scratch_.path() / "moved", store_.folder());
  // A tensor of another shape: fails half way.
  TrainedState broken = trained_;
  broken.m.pop_back();
  EXPECT_THROW(store_.save(layout_, state(4), identity_, broken), std::exception);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{2}));
  EXPECT_EQ(std::distance(fs::directory_iterator(store_.folder()), fs::directory_iterator()), 1);
  EXPECT_EQ(newest()->state.step, 2);
}

TEST_F(CheckpointTest, SavesTheSameStepAgain) {
  save(2);
  RunState later = state(2);
  later.evaluated_step = 2;
  store_.save(layout_, later, identity_, trained_);
  EXPECT_EQ(newest()->state.evaluated_step, 2);
}

TEST_F(CheckpointTest, WhatChangedIsNamed) {
  RunIdentity now = identity_;
  now.recipe[2].second = "y";  // output: free to change
  now.recipe[1].second = "moved/a.csv";
  EXPECT_TRUE(changes(identity_, now).empty());
  now.recipe[0].second = "2";
  now.files[0].digest.crc64 = 8;
  EXPECT_THAT(changes(identity_, now),
              testing::ElementsAre("train.seed: 1 → 2", testing::AllOf(HasSubstr("data.train"), HasSubstr("content"))));
  now.files.clear();
  EXPECT_THAT(changes(identity_, now), testing::Contains(HasSubstr("not there any more")));
  // A setting that the checkpoint's version did not have.
  now = identity_;
  now.recipe.push_back({"train.max_grad_norm", "null"});
  EXPECT_TRUE(changes(identity_, now).empty());
  now.recipe.back().second = "1";
  EXPECT_EQ(changes(identity_, now).size(), 1u);
}

TEST_F(CheckpointTest, AnotherRunIsRefusedUnlessAllowed) {
  RunFolder folder(scratch_.path(), RunFolder::Existing::kResume);
  std::vector<std::string> warnings;
  auto warn = [&](const std::string& text) { warnings.push_back(text); };
  EXPECT_FALSE(find_saved_run(folder, identity_, false, warn));
  save(2);
  EXPECT_TRUE(find_saved_run(folder, identity_, false, warn));
  RunIdentity other = identity_;
  other.recipe[0].second = "2";
  try {
    find_saved_run(folder, other, false, warn);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("train.seed: 1 → 2"), HasSubstr("--allow-changes")));
  }
  EXPECT_TRUE(warnings.empty());
  EXPECT_TRUE(find_saved_run(folder, other, true, warn));
  EXPECT_EQ(warnings.size(), 1u);
  write_file(store_.path(2) / "state.json", "{}");
  EXPECT_THROW(find_saved_run(folder, identity_, false, warn), Error);
}

// Checksums that are right as well: somebody, or a program of somebody's, wrote them anew.
TEST_F(CheckpointTest, EveryNumberOfTheStateIsCheckedAndNamed) {
  save(2);
  save(3);
  const fs::path folder = store_.path(3);
  const auto whole = nlohmann::ordered_json::parse(read_text(folder / "state.json"));
  const auto write = [&](const nlohmann::ordered_json& json) {
    write_file(folder / "state.json", json.dump());
    auto sums = nlohmann::ordered_json::parse(read_text(folder / "checksums.json"));
    const FileDigest digest = digest_file(folder / "state.json");
    sums["files"]["state.json"] = {{"bytes", digest.bytes}, {"crc64", to_hex(digest.crc64)}};
    write_file(folder / "checksums.json", sums.dump());
  };
  write(whole);
  ASSERT_EQ(newest()->state.step, 3);
  for (const auto& [key, value] : whole["state"].items()) {
    if (key == "best") continue;
    std::vector<nlohmann::ordered_json> wrong = {"3", nullptr, -1000};
    if (key == "loss_sum" || key == "correct_sum" || key == "smoothed_sum")
      wrong.pop_back();  // of rewards and scores
    else if (key != "elapsed_seconds" && key != "weight" && key != "rows" && key != "tokens")
      wrong.emplace_back(int64_t{1'000'000'000'000'000'000});
    if (value.is_number_integer()) wrong.emplace_back(2.5);
    for (const auto& other : wrong) {
      auto json = whole;
      json["state"][key] = other;
      write(json);
      const auto found = newest();
      ASSERT_TRUE(found);
      EXPECT_EQ(found->state.step, 2) << key << other;
      ASSERT_EQ(skipped_.size(), 1u);
      EXPECT_THAT(skipped_[0], testing::AllOf(HasSubstr("step-3"), HasSubstr("state.json"), HasSubstr(key))) << other;
    }
  }
  for (const char* key : {"step", "log_loss", "accuracy"}) {
    auto json = whole;
    json["state"]["best"][key] =
        std::string_view(key) == "log_loss" ? nlohmann::ordered_json("low") : nlohmann::ordered_json(7);
    write(json);
    EXPECT_EQ(newest()->state.step, 2) << key;
    EXPECT_THAT(skipped_.at(0), HasSubstr(key));
  }
  auto json = whole;
  for (const nlohmann::ordered_json& bytes : {nlohmann::ordered_json(1e30), nlohmann::ordered_json(-1)}) {
    json["identity"]["files"][0]["bytes"] = bytes;
    write(json);
    EXPECT_EQ(newest()->state.step, 2) << bytes;
    EXPECT_THAT(skipped_.at(0), HasSubstr("bytes of a.csv"));
  }
  json = whole;
  write(json);
  auto sums = nlohmann::ordered_json::parse(read_text(folder / "checksums.json"));
  sums["files"]["state.json"]["bytes"] = 1e30;
  write_file(folder / "checksums.json", sums.dump());
  EXPECT_EQ(newest()->state.step, 2);
  EXPECT_THAT(skipped_.at(0), HasSubstr("state.json: 1e+30 bytes expected"));
  json["state"]["step"] = 5;
  write(json);
  EXPECT_EQ(newest()->state.step, 2);
  EXPECT_THAT(skipped_.at(0), HasSubstr("'step' is 5, expected 3 as the folder's name has it"));
}

TEST(CheckState, NumbersAreOfTheRecipesRun) {
  Recipe recipe;
  recipe.train.batch_size = 8;
  recipe.data.max_length = 64;
  RunState state;
  state.step = 10;
  state.rows = 80;
  state.tokens = 10 * 8 * 64;
  EXPECT_NO_THROW(check_state(state, recipe, 10, "state.json"));
  const auto error = [&](RunState wrong, int64_t steps) {
    try {
      check_state(wrong, recipe, steps, "state.json");
    } catch (const Error& found) {
      return std::string(found.what());
    }
    return std::string();
  };
  EXPECT_THAT(error(state, 9), HasSubstr("state.json: 'step' is 10, expected a number from 0 to 9 (the run's steps)"));
  RunState wrong = state;
  wrong.rows = 10'000'000;
  EXPECT_THAT(error(wrong, 10), HasSubstr("'rows' is 10000000"));
  wrong = state;
  wrong.tokens = 1'000'000'000'000;
  EXPECT_THAT(error(wrong, 10), HasSubstr("'tokens' is 1000000000000"));
}

TEST(RunFolder, ASecondRunIsRefusedAndARemovedFolderIsMadeAgain) {
  TempFolder scratch("gavel_run_folder_test");
  fs::path path = scratch.path() / "run";
  {
    RunFolder folder(path, RunFolder::Existing::kRefuse);
    EXPECT_TRUE(folder.is_there());
    for (auto existing : {RunFolder::Existing::kRefuse, RunFolder::Existing::kResume})
      EXPECT_THROW(RunFolder(path, existing), Error);
    fs::remove_all(path);
    EXPECT_FALSE(folder.is_there());
    folder.restore();
    EXPECT_TRUE(folder.is_there());
    EXPECT_THROW(RunFolder(path, RunFolder::Existing::kRefuse), Error);
  }
  EXPECT_FALSE(fs::exists(path)) << "a folder that nothing was written to stays behind";
  make_folder(path);
  write_file(path / "metrics.jsonl", "");
  EXPECT_THROW(RunFolder(path, RunFolder::Existing::kRefuse), Error);
  EXPECT_NO_THROW(RunFolder(path, RunFolder::Existing::kResume));
  write_file(path / "adapter_model.safetensors", "");
  EXPECT_THROW(RunFolder(path, RunFolder::Existing::kResume), Error);
}

}  // namespace
}  // namespace gavel
