#include "measure/parity.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "io/safetensors.h"
#include "nn/cpu_kernels.h"
#include "nn/plain_attention.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

fs::path own_golden() {
  return fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden";
}

bool has_soft_cap(const fs::path& folder) {
  return read_text(folder / "config.json").find("attn_logit_softcapping") != std::string::npos;
}

/** Layers written out, and in a scan that computes all again or nothing; half of it on our own golden alone. */
void expect_parity(const fs::path& folder, Kernels kernels) {
  struct Form {
    LayerForm form;
    Recompute recompute;
    const char* name;
  };
  std::vector<Form> forms = {{LayerForm::kUnrolled, Recompute::kAll, "unrolled"},
                             {LayerForm::kScan, Recompute::kAll, "scan"},
                             {LayerForm::kScan, Recompute::kNone, "scan, nothing computed again"}};
  if (folder == own_golden()) forms.push_back({LayerForm::kScan, Recompute::kAttention, "scan, attention kept"});
  for (const Form& each : forms) {
    const int calls = plain_attention_calls();
    ParityReport report =
        run_parity(folder, each.form, kernels, test_client(), test_compile_cache(), {}, each.recompute);
    if (kernels == Kernels(plain_attention_kernels()) && !has_soft_cap(folder)) {
      EXPECT_GE(plain_attention_calls(), calls + 2) << folder.filename() << ": another attention was compared";
    }
    EXPECT_EQ(report.quantities.size(), 4u);
    EXPECT_TRUE(report.passed()) << folder.filename() << " " << each.name << "\n" << format_parity(report);
  }
}

/** Plain StableHLO, the CPU kernels, and CUDA's attention with its calls written out. */
class GoldenParity : public testing::TestWithParam<Kernels> {};

TEST_P(GoldenParity, OwnGoldenInBothForms) {
  expect_parity(own_golden(), GetParam());
}

TEST_P(GoldenParity, AHeadOfTwoLabelsInBothForms) {
  expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_two_labels", GetParam());
}

TEST_P(GoldenParity, AdaptersWithMagnitudesInBothForms) {
  expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_dora", GetParam());
}

/** Of torch.optim.AdamW with groups of parameters: the head's rate, LoRA+, layer-wise decay, steps of the head alone; and
 * of PEFT's layers_to_transform. */
TEST_P(GoldenParity, RatesThatDifferInBothForms) {
  expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_rates", GetParam());
}

/** Of PEFT on the numbers that int8 and NF4 make of the base, which the golden's script works out by itself. */
TEST_P(GoldenParity, QuantisedBasesInBothForms) {
  for (const char* name : {"golden_int8", "golden_nf4"})
    expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train" / name, GetParam());
}

TEST_P(GoldenParity, RewardsInBothForms) {
  for (const char* name : {"golden_reward", "golden_reward_qwen3"})
    expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train" / name, GetParam());
}

TEST_P(GoldenParity, AnswersReadByThemselvesInBothForms) {
  expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_siamese", GetParam());
}

/** All of a folder's goldens. */
void expect_parity_of_all(const fs::path& folder, Kernels kernels) {
  if (!fs::exists(folder)) GTEST_SKIP() << "no folder " << folder;
  int folders = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    expect_parity(entry.path(), kernels);
    ++folders;
  }
  EXPECT_GT(folders, 0);
}

TEST_P(GoldenParity, LayersWithoutPositionsInBothForms) {
  expect_parity(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_smollm3", GetParam());
}

TEST_P(GoldenParity, AllSharedGoldensInBothForms) {
  expect_parity_of_all(shared_folder() / "goldens", GetParam());
}

TEST_P(GoldenParity, AllSharedGoldensOfFamiliesInBothForms) {
  expect_parity_of_all(shared_folder() / "goldens_families", GetParam());
}

INSTANTIATE_TEST_SUITE_P(Kernels, GoldenParity,
                         testing::Values(Kernels(), Kernels(cpu_kernels()), Kernels(plain_attention_kernels())),
                         [](const auto& info) {
                           return info.param.plain() ? "Plain" : info.param.name() == "cpu" ? "Cpu" : "Cudnn";
                         });

/** The own golden with `tensor` of expected.safetensors moved by `shift`. */
fs::path shifted_golden(const fs::path& scratch, const std::string& tensor, float shift) {
  fs::path folder = scratch / "shifted";
  fs::remove_all(folder);
  fs::copy(own_golden(), folder, fs::copy_options::recursive);
  auto file = SafetensorsFile::open(own_golden() / "expected.safetensors");
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (const auto& [name, info] : file->tensors()) {
    auto values = file->tensor(name).as<float>();
    std::vector<float> copy(values.begin(), values.end());
    if (name == tensor) copy.back() += shift;
    tensors.emplace_back(name, HostTensor::from(copy, info.shape));
  }
  write_safetensors(folder / "expected.safetensors", tensors, {});
  return folder;
}

TEST(Parity, SeesAShiftedValueOfEachQuantity) {
  TempFolder scratch("gavel_parity_test");
  const std::string score = "base_model.model.score.modules_to_save.default.weight";
  for (const auto& [tensor, shift] : std::vector<std::pair<std::string, float>>{
           {"logits", 2e-5f}, {"loss", 2e-5f}, {"grad." + score, 1e-3f}, {"final." + score, 3e-6f}}) {
    ParityReport report = run_parity(shifted_golden(scratch.path(), tensor, shift), LayerForm::kUnrolled, Kernels(),
                                     test_client(), test_compile_cache());
    EXPECT_FALSE(report.passed()) << tensor;
    EXPECT_FALSE(report.quantities[tensor.substr(0, tensor.find('.'))].within) << tensor;
  }
}

TEST(Parity, MissingTensorIsNamed) {
  TempFolder scratch("gavel_parity_missing_test");
  fs::path folder = scratch.path() / "broken";
  fs::copy(own_golden(), folder, fs::copy_options::recursive);
  write_safetensors(folder / "expected.safetensors", {{"loss", HostTensor::from<float>({1}, {1})}}, {});
  try {
    run_parity(folder, LayerForm::kScan, Kernels(), test_client(), test_compile_cache());
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("logits"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace gavel
