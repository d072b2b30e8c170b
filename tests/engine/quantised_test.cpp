// Training and judging on a quantised base is training and judging on the numbers that its codes mean.
#include "engine/quantised_base.h"
#include "model/combine.h"

namespace gavel::quantised_tests {
namespace {

using Codes = Quantisation::Codes;

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
