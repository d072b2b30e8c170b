// Training and judging on a base that is held as its GGUF file holds it is training and judging on the file's numbers: Q4_K, Q5_0,
// and in two tensors Q4_K and Q6_K by layers.
#include "engine/quantised_base.h"
#include "model/combine.h"

namespace gavel::quantised_tests {
namespace {

const BaseStorage kAsFile{DType::kBF16, {}, true};

const QuantisedBase& file_base() {
  static const QuantisedBase base(kAsFile);
  return base;
}

StepOptions step_on_file(Kernels kernels, LayerForm form, std::vector<std::string> targets) {
  return step_with(kAsFile, kernels, form, std::move(targets), file_base().files().spec());
}
StepOptions step_on_numbers(Kernels kernels, LayerForm form, std::vector<std::string> targets) {
  return step_with({DType::kF32, {}}, kernels, form, std::move(targets), file_base().numbers().spec());
}

using FileForm = std::tuple<bool, LayerForm>;  // with the CPU's kernels?

class GgufTraining : public testing::TestWithParam<FileForm> {};

TEST_P(GgufTraining, IsTrainingOnTheNumbersOfTheFile) {
  const auto& [kernels, form] = GetParam();
  const Kernels chosen = kernels ? Kernels(cpu_kernels()) : Kernels();
  const std::vector<std::string> targets =
      form == LayerForm::kScan ? all_linear_names() : std::vector<std::string>{"o_proj", "v_proj"};
  expect_alike(trained_on(file_base().files(), step_on_file(chosen, form, targets)),
               trained_on(file_base().numbers(), step_on_numbers(chosen, form, targets)));
}

std::string file_form_name(const testing::TestParamInfo<FileForm>& info) {
  const auto& [kernels, form] = info.param;
  return fmt::format("{}_{}", kernels ? "kernels" : "plain", form == LayerForm::kScan ? "scan" : "unrolled");
}
INSTANTIATE_TEST_SUITE_P(Forms, GgufTraining,
                         testing::Combine(testing::Bool(), testing::Values(LayerForm::kScan, LayerForm::kUnrolled)),
                         file_form_name);

TEST(GgufBase, IsTheSameOnAMesh) {
  StepOptions step = step_on_file(Kernels(cpu_kernels()), LayerForm::kScan, all_linear_names());
  const Trained one = trained_on(file_base().files(), step);
  step.model.placement = Placement({2, 2, 2}, {}, step.model.spec);
  Engine engine(make_client("cpu", 8), step, test_compile_cache());
  engine.load_frozen(file_base().files());
  expect_alike(trained_on(engine), one);
}

/** Of both on one mesh: against one device, AdamW's first steps make more of what other sums round than 1e-4, of the numbers in
 * float32 as of the file's types (0.00075 of a weight's largest, the same of both). */
TEST(GgufBase, OnAMeshIsThatOfTheNumbersOnTheMesh) {
  auto trained = [](StepOptions step, const ModelFiles& files) {
    step.model.placement = Placement({1, 4, 2}, {}, step.model.spec);
    Engine engine(make_client("cpu", 8), step, test_compile_cache());
    engine.load_frozen(files);
    return trained_on(engine);
  };
  expect_alike(trained(step_on_file({}, LayerForm::kScan, all_linear_names()), file_base().files()),
               trained(step_on_numbers({}, LayerForm::kScan, all_linear_names()), file_base().numbers()));
}

TEST(GgufBase, MergesIntoTheNumbersOfTheFile) {
  StepOptions step = step_on_file({}, LayerForm::kScan, all_linear_names());
  const Batch batch = some_batch();
  Engine judge(test_client(), step, test_compile_cache());
  judge.load_frozen(file_base().files());
  judge.set_trainable(some_adapters(step));
  const HostTensor wanted = judge.evaluate(batch).logits;

  LoadedAdapterWeights adapter{{step.model.lora, "base", false}, some_adapters(step)};
  const fs::path folder = file_base().folder("merged");
  merge_adapter(file_base().files(), kAsFile, adapter, folder, DType::kF32);
  StepOptions merged = step_on_numbers({}, LayerForm::kScan, all_linear_names());
  std::vector<HostTensor> zeros = some_adapters(merged);
  const TrainableLayout layout = trainable_layout(merged.model);
  for (size_t i = 0; i < zeros.size(); ++i)
    if (i != layout.head) zeros[i] = HostTensor(DType::kF32, zeros[i].shape());
  Engine plain(test_client(), merged, test_compile_cache());
  plain.load_frozen(ModelFiles::open(folder));
  plain.set_trainable(zeros);
  EXPECT_LT(difference(plain.evaluate(batch).logits, wanted), 1e-5);
}

TEST(GgufBase, TakesTheBytesThatItsTypesSay) {
  ModelOptions options;
  options.spec = file_base().files().spec();
  options.dtype = kAsFile.dtype;
  options.as_file = true;
  options.form = LayerForm::kScan;
  int64_t numbers = 0, wanted = 0;
  for (const FrozenParameter& p : frozen_parameters(options)) {
    numbers += p.parameters();
    if (p.part == HeldPart::kValues) continue;
    const bool mixed = p.name.find("v_proj") != std::string::npos || p.name.find("down_proj") != std::string::npos;
    const bool keys = p.name.find("k_proj") != std::string::npos;
    // Bits of a code, and of the float16 numbers of a block of 256, or of keys 32.
    const double bits = p.part == HeldPart::kCodes ? (mixed || keys ? 8 : 4)
                        : mixed                    ? 34 * 16 / 256.0
                        : keys                     ? 16 / 32.0
                                                   : 18 * 16 / 256.0;
    EXPECT_EQ(static_cast<double>(num_elements(p.shape)) * static_cast<double>(byte_size(p.dtype)),
              static_cast<double>(num_elements(p.whole) * p.shape.front()) * bits / 8)
        << p.name;
  }
  options.as_file = false;
  for (const FrozenParameter& p : frozen_parameters(options)) wanted += p.parameters();
  EXPECT_EQ(numbers, wanted);
}

}  // namespace
}  // namespace gavel::quantised_tests
