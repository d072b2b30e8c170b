// A row's two texts that hold their common beginning once, beside texts that stand by themselves.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "engine/engine.h"
#include "model/adapter.h"
#include "setup/open_device.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

/** Rows whose texts begin alike, at most half of `longest` tokens. */
TokenizedDataset rows_with_prefixes(int64_t count, int64_t longest) {
  TokenizeOptions options;
  options.max_length = longest;
  options.with_swapped = true;
  TextEncoder encoder;
  encoder.encode = [](std::string_view, std::vector<int32_t>&) {};
  encoder.pad_id = 2;
  DatasetBuilder builder(options, encoder);
  Random random(6);
  const auto add = [&](std::vector<int32_t>& to, uint64_t tokens) {
    for (uint64_t i = 0; i < tokens; ++i) to.push_back(static_cast<int32_t>(3 + random.below(45)));
  };
  for (int64_t row = 0; row < count; ++row) {
    std::vector<int32_t> first;
    add(first, random.below(static_cast<uint64_t>(longest / 2)));
    std::vector<int32_t> second = first;
    add(first, 1 + random.below(static_cast<uint64_t>(longest / 2)));
    add(second, 1 + random.below(static_cast<uint64_t>(longest / 2)));
    builder.add_tokens(std::move(first),
                       {row % 3 == 0 ? 1.0f : 0.0f, row % 3 == 1 ? 1.0f : 0.0f, row % 3 == 2 ? 1.0f : 0.0f},
                       std::move(second));
  }
  return builder.finish();
}

/** Rewards of rows that hold what their texts begin with once, beside the same rows padded, each text by itself. */
TEST(SharedPrompts, GiveTheGradientsOfSeparateTexts) {
  const fs::path folder = fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_reward";
  const DecoderSpec spec = ModelFiles::open(folder).spec();
  const LoadedAdapterWeights adapter = read_adapter(PeftConfig::read(folder / "adapter"), spec, 1);
  const auto run = [&](StepOptions step, const Batch& batch) {
    step.task = reward_task();
    step.model.spec = spec;
    step.model.lora = adapter.config.lora;
    step.model.lora.lora_dropout = 0;
    step.model.num_labels = 1;
    step.model.learns_tie = true;
    Engine engine(test_client(), step, test_compile_cache());
    engine.load_frozen(ModelFiles::open(folder));
    engine.set_trainable(adapter.values);
    return engine.gradients(batch, 0);
  };
  const TokenizedDataset data = rows_with_prefixes(12, 40);
  BatchOptions options{.batch_size = 12, .max_length = 40, .bucket_multiple = 8, .seed = 3, .shuffle = false};
  options.texts_per_row = 2;
  auto [wanted, wanted_outputs] = run({}, Batcher(data, options).step(0).micro[0]);
  options.batching = Batching::kPacked;
  options.share_prefixes = true;
  const Kernels best = device_traits(*test_client()).kernels;
  std::vector<Kernels> kinds = {Kernels()};
  if (!best.plain()) kinds.push_back(best);
  for (LayerForm form : {LayerForm::kScan, LayerForm::kUnrolled})
    for (Kernels kernels : kinds)
      for (bool one_sequence : {false, true}) {
        if (kernels.plain() && one_sequence) continue;
        SCOPED_TRACE(fmt::format("{}, {}, {}", form == LayerForm::kScan ? "scan" : "unrolled", kernels.name(),
                                 one_sequence ? "joined" : "packed"));
        options.one_sequence = one_sequence;
        const Batcher batcher(data, options);
        ASSERT_GT(batcher.shared(), 0.1);
        const Batch batch = batcher.step(0).micro[0];
        StepOptions step;
        step.model.kernels = kernels;
        step.model.form = form;
        step.model.prefixes = true;
        auto [found, outputs] = run(step, batch);
        ASSERT_EQ(found.size(), wanted.size());
        for (size_t i = 0; i < wanted.size(); ++i)
          for (size_t j = 0; j < wanted[i].as<float>().size(); ++j)
            ASSERT_NEAR(wanted[i].as<float>()[j], found[i].as<float>()[j], 1e-5) << "tensor " << i << " at " << j;
        for (size_t j = 0; j < wanted_outputs.as<float>().size(); ++j)
          ASSERT_NEAR(wanted_outputs.as<float>()[j], outputs.as<float>()[j], 1e-5) << "output " << j;
      }
}

}  // namespace
}  // namespace gavel
