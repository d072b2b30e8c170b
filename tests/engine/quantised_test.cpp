// Training and judging on a quantised base is training and judging on the numbers that its codes mean.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/engine.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "model/combine.h"
#include "nn/cpu_kernels.h"
#include "setup/random_rows.h"
#include "setup/test_support.h"
#include "spec/family.h"
#include "spec/mesh_llama.h"

// Names within are those of other files of this folder too, which is compiled as one.
namespace gavel::quantised_tests {
namespace {

namespace fs = std::filesystem;
using Codes = Quantisation::Codes;

/** Groups of 64 divide what goes into its linears. */
ModelConfig small_model() {
  ModelConfig c = mesh_llama(3);
  c.intermediate_size = 128;
  c.attention_bias = true;
  c.initializer_range = 0.1;
  return c;
}

/** A folder of random float32 weights. */
void write_base(const fs::path& folder, const ModelConfig& config) {
  fs::create_directories(folder);
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (const auto& tensor : decoder_spec(config).base_tensors()) {
    HostTensor value(DType::kF32, tensor.spec.shape);
    auto numbers = value.as_mutable<float>();
    const bool norm = tensor.spec.role == TensorRole::kNorm;
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<float>((norm ? 1 : 0) + 0.3 * (random_uniform(tensors.size() + 1, i) - 0.5));
    tensors.emplace_back(tensor.name, value);
  }
  write_safetensors(folder / "model.safetensors", tensors, {});
  write_file(folder / "config.json", config.to_json(3, "float32"));
}

/** A base, and beside it the numbers that `storage` makes of it. */
class QuantisedBase {
 public:
  explicit QuantisedBase(const BaseStorage& storage) : scratch_("gavel_quantised_test"), storage_(storage) {
    write_base(scratch_.path() / "base", small_model());
    const ModelFiles base = files();
    const std::map<std::string, TensorSpec> specs = specs_by_name(base.spec());
    ExportChanges changes;
    changes.read = [&](const std::string& name) { return base.read_held(name, specs.at(name), storage_); };
    export_folder(base, scratch_.path() / "numbers", DType::kF32, 3, changes);
  }
  ModelFiles files() const { return ModelFiles::open(scratch_.path() / "base"); }
  ModelFiles numbers() const { return ModelFiles::open(scratch_.path() / "numbers"); }
  fs::path folder(const std::string& name) const { return scratch_.path() / name; }
  const BaseStorage& storage() const { return storage_; }

 private:
  TempFolder scratch_;
  BaseStorage storage_;
};

StepOptions step_with(const BaseStorage& storage, Kernels kernels, LayerForm form, std::vector<std::string> targets) {
  StepOptions step;
  step.model.spec = decoder_spec(small_model());
  step.model.lora = {4, 8, 0.2, std::move(targets), false};
  step.model.dtype = storage.dtype;
  step.model.quantisation = storage.quantisation;
  step.model.kernels = kernels;
  step.model.form = form;
  return step;
}

/** Adapters of some size, so that all gradients are. */
std::vector<HostTensor> some_adapters(const StepOptions& step) {
  std::vector<HostTensor> values;
  for (const auto& parameter : trainable_layout(step.model).parameters) {
    HostTensor value(DType::kF32, parameter.shape);
    auto numbers = value.as_mutable<float>();
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<float>(0.2 * (random_uniform(values.size() + 3, i) - 0.5));
    values.push_back(value);
  }
  return values;
}

Batch some_batch() {
  BatchOptions options;
  options.batching = Batching::kPadded;
  options.batch_size = 8;
  options.max_length = 16;
  options.bucket_multiple = 8;
  options.shuffle = false;
  return Batcher(random_rows(24, 16, 60), options).step(0).micro[0];
}

struct Trained {
  HostTensor logits;
  std::vector<HostTensor> gradients, weights;
  std::vector<double> losses;
};

Trained trained_on(Engine& engine) {
  engine.set_trainable(some_adapters(engine.options()));
  const Batch batch = some_batch();
  Trained out;
  std::tie(out.gradients, out.logits) = engine.gradients(batch, 11);
  for (int64_t i = 0; i < 3; ++i) out.losses.push_back(engine.train_step({&batch, 1}, i, 1e-3, 8, 11).get().loss);
  out.weights = engine.trainable();
  return out;
}

Trained trained_on(const ModelFiles& files, const StepOptions& step) {
  Engine engine(test_client(), step, test_compile_cache());
  engine.load_frozen(files);
  return trained_on(engine);
}

/** The largest difference, as a share of the largest number. */
double difference(const HostTensor& found, const HostTensor& wanted) {
  double largest = 0, most = 0;
  for (size_t i = 0; i < wanted.as<float>().size(); ++i) {
    most = std::max(most, std::fabs(double{wanted.as<float>()[i]}));
    largest = std::max(largest, std::fabs(double{wanted.as<float>()[i]} - found.as<float>()[i]));
  }
  EXPECT_GT(most, 0) << "nothing is compared";
  return largest / most;
}

void expect_alike(const Trained& found, const Trained& wanted) {
  EXPECT_LT(difference(found.logits, wanted.logits), 1e-5);
  ASSERT_EQ(found.gradients.size(), wanted.gradients.size());
  for (size_t i = 0; i < wanted.gradients.size(); ++i) {
    EXPECT_LT(difference(found.gradients[i], wanted.gradients[i]), 1e-5) << "gradient " << i;
    EXPECT_LT(difference(found.weights[i], wanted.weights[i]), 1e-4) << "weight " << i;
  }
  for (size_t i = 0; i < wanted.losses.size(); ++i) EXPECT_NEAR(found.losses[i], wanted.losses[i], 1e-5);
}

using Form = std::tuple<Quantisation, bool, LayerForm>;  // with the CPU's kernels?

class QuantisedTraining : public testing::TestWithParam<Form> {};

TEST_P(QuantisedTraining, IsTrainingOnTheNumbersThatTheCodesMean) {
  const auto& [how, kernels, form] = GetParam();
  const QuantisedBase base({DType::kBF16, how});
  const Kernels chosen = kernels ? Kernels(cpu_kernels()) : Kernels();
  // All linears are adapted, or some, where one kernel does the feed-forward block.
  const std::vector<std::string> targets =
      form == LayerForm::kScan ? all_linear_names() : std::vector<std::string>{"o_proj", "v_proj"};
  expect_alike(trained_on(base.files(), step_with(base.storage(), chosen, form, targets)),
               trained_on(base.numbers(), step_with({DType::kF32, {}}, chosen, form, targets)));
}

const Quantisation kEach[] = {{Codes::kInt8, 64}, {Codes::kInt8, 32}, {Codes::kNf4, 64}};

std::string form_name(const testing::TestParamInfo<Form>& info) {
  const auto& [how, kernels, form] = info.param;
  return fmt::format("{}_{}_{}_{}", codes_name(how.codes), how.group, kernels ? "kernels" : "plain",
                     form == LayerForm::kScan ? "scan" : "unrolled");
}
INSTANTIATE_TEST_SUITE_P(Forms, QuantisedTraining,
                         testing::Combine(testing::ValuesIn(kEach), testing::Bool(),
                                          testing::Values(LayerForm::kScan, LayerForm::kUnrolled)),
                         form_name);

TEST(QuantisedBase, WeightsWithMagnitudesHaveTheRowsOfTheirNumbers) {
  const QuantisedBase base({DType::kBF16, Quantisation{Codes::kInt8, 64}});
  StepOptions plain = step_with({DType::kF32, {}}, {}, LayerForm::kScan, {"q_proj", "down_proj"}),
              quantised = step_with(base.storage(), {}, LayerForm::kScan, {"q_proj", "down_proj"});
  plain.model.lora.use_dora = quantised.model.lora.use_dora = true;
  expect_alike(trained_on(base.files(), quantised), trained_on(base.numbers(), plain));
}

TEST(QuantisedBase, IsTheSameOnAMesh) {
  static const std::shared_ptr<pjrt::Client> eight = make_client("cpu", 8);
  struct OnMesh {
    Quantisation how;
    Kernels kernels;
    Mesh mesh;
  };
  for (const auto& [how, kernels, mesh] :
       {OnMesh{kEach[0], Kernels(cpu_kernels()), {2, 2, 2}}, OnMesh{kEach[1], Kernels(), {1, 1, 8}},
        OnMesh{kEach[2], Kernels(cpu_kernels()), {1, 4, 2}}}) {
    const std::string what = BaseStorage{DType::kBF16, how}.describe();
    SCOPED_TRACE(fmt::format("{} {} {}", what, kernels.name(), to_string(mesh)));
    const QuantisedBase base({DType::kBF16, how});
    StepOptions step = step_with(base.storage(), kernels, LayerForm::kScan, all_linear_names());
    const Trained one = trained_on(base.files(), step);
    step.model.placement = Placement(mesh, {}, step.model.spec);
    Engine engine(eight, step, test_compile_cache());
    engine.load_frozen(base.files());
    expect_alike(trained_on(engine), one);
  }
}

TEST(QuantisedBase, MergesIntoItsNumbers) {
  const QuantisedBase base({DType::kBF16, Quantisation{Codes::kNf4, 64}});
  StepOptions step = step_with(base.storage(), {}, LayerForm::kScan, all_linear_names());
  const Batch batch = some_batch();
  Engine judge(test_client(), step, test_compile_cache());
  judge.load_frozen(base.files());
  judge.set_trainable(some_adapters(step));
  const HostTensor wanted = judge.evaluate(batch).logits;

  LoadedAdapterWeights adapter{{step.model.lora, "base", false}, some_adapters(step)};
  merge_adapter(base.files(), base.storage(), adapter, base.folder("merged"), DType::kF32);
  StepOptions merged = step_with({DType::kF32, {}}, {}, LayerForm::kScan, all_linear_names());
  std::vector<HostTensor> zeros = some_adapters(merged);
  const TrainableLayout layout = trainable_layout(merged.model);
  for (size_t i = 0; i < zeros.size(); ++i)
    if (i != layout.head) zeros[i] = HostTensor(DType::kF32, zeros[i].shape());
  Engine plain(test_client(), merged, test_compile_cache());
  plain.load_frozen(ModelFiles::open(base.folder("merged")));
  plain.set_trainable(zeros);
  EXPECT_LT(difference(plain.evaluate(batch).logits, wanted), 1e-5);
}

TEST(QuantisedBase, ProductsReadCodesAndCostWhatTheyDo) {
  const BatchShape shape{1, 64, 4};
  auto program = [&](const BaseStorage& storage, Kernels kernels) {
    StepOptions step = step_with(storage, kernels, LayerForm::kScan, {"o_proj", "v_proj"});
    step.model.compute_dtype = DType::kBF16;
    return std::pair(train_step_program(step, shape), evaluate_program(step, shape).text);
  };
  const BaseStorage bf16{DType::kBF16, {}};
  for (const Quantisation& how : kEach)
    for (Kernels kernels : {Kernels(), Kernels(cpu_kernels())})
      EXPECT_EQ(program({DType::kBF16, how}, kernels).first.flops, program(bf16, kernels).first.flops);

  // The form that compilers put into one product: up_proj's codes, converted and scaled by groups in bfloat16.
  const std::string int8 = program({DType::kBF16, kEach[0]}, {}).first.text;
  for (const char* line : {"(tensor<128x64xi8>) -> tensor<128x64xbf16>", ": tensor<128x1x64xbf16>",
                           "(tensor<128x1x64xbf16>) -> tensor<128x64xbf16>"})
    EXPECT_NE(int8.find(line), std::string::npos) << line;
  EXPECT_EQ(int8.find("tensor<128x64xf32>"), std::string::npos) << "a matrix in float32";
  const std::string nf4 = program({DType::kBF16, kEach[2]}, {}).first.text;
  for (const char* line : {"tensor<128x32xui8>", "stablehlo.gather", "(tensor<128x64xf32>) -> tensor<128x64xbf16>"})
    EXPECT_NE(nf4.find(line), std::string::npos) << line;
  const auto [train, evaluate] = program({DType::kBF16, kEach[0]}, Kernels(cpu_kernels()));
  for (const char* kernel : {"@gavel_quantised_linear(", "@gavel_quantised_linear_dx(", "@gavel_quantised_linear_lora(",
                             "@gavel_quantised_mlp(", "@gavel_quantised_mlp_grad("})
    EXPECT_NE(train.text.find(kernel), std::string::npos) << kernel;
  EXPECT_NE(evaluate.find("@gavel_quantised_mlp_forward_only("), std::string::npos);
}

TEST(QuantisedBase, TakesTheBytesThatItsTypesSay) {
  for (const auto& [how, bits] : {std::pair(Quantisation{Codes::kInt8, 64}, 8 + 16.0 / 64),
                                  std::pair(Quantisation{Codes::kInt8, 128}, 8 + 16.0 / 128),
                                  std::pair(Quantisation{Codes::kInt8, 32}, 8 + 32.0 / 32),
                                  std::pair(Quantisation{Codes::kNf4, 64}, 4 + 32.0 / 64)}) {
    const BaseStorage storage{DType::kBF16, how};
    ModelOptions plain, quantised;
    plain.spec = quantised.spec = decoder_spec(built_in_shape("llama-3-8b"));
    quantised.dtype = plain.dtype = storage.dtype;
    quantised.quantisation = how;
    double bytes = 0;
    int64_t numbers = 0, linears = 0, wanted = 0;
    for (const FrozenParameter& p : frozen_parameters(quantised)) {
      numbers += p.parameters();
      if (p.part == HeldPart::kValues) continue;
      bytes += static_cast<double>(num_elements(p.shape)) * static_cast<double>(byte_size(p.dtype));
      linears += p.parameters();
    }
    for (const FrozenParameter& p : frozen_parameters(plain)) wanted += p.parameters();
    EXPECT_EQ(numbers, wanted);
    EXPECT_EQ(bytes, static_cast<double>(linears) * bits / 8);
  }
}

/** Random weights, for speed runs: as large as the same weights that are not quantised. */
TEST(QuantisedBase, RandomWeightsGiveLogitsOfAboutTheSameModel) {
  StepOptions plain = step_with({DType::kF32, {}}, {}, LayerForm::kScan, {"o_proj"}),
              quantised = step_with({DType::kBF16, Quantisation{Codes::kInt8, 64}}, {}, LayerForm::kScan, {"o_proj"});
  std::vector<HostTensor> logits;
  for (const StepOptions& step : {plain, quantised}) {
    Engine engine(test_client(), step, test_compile_cache());
    engine.random_frozen(5);
    engine.set_trainable(some_adapters(step));
    logits.push_back(engine.evaluate(some_batch()).logits);
  }
  const double apart = difference(logits[1], logits[0]);
  EXPECT_GT(apart, 0);
  EXPECT_LT(apart, 0.1);
}

}  // namespace
}  // namespace gavel::quantised_tests
