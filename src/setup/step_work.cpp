#include "setup/step_work.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gavel {

namespace {

/** A text's tokens, and how many of them stand with another text. */
struct TextLength {
  int64_t tokens = 0, prefix = 0;
};

std::vector<TextLength> text_lengths(const Batch& batch, const Batcher& batcher) {
  const TokenizedDataset& dataset = batcher.dataset();
  std::vector<TextLength> lengths;
  for (size_t i = 0; i < batch.row_indices.size(); ++i) {
    const int64_t row = batch.row_indices[i];
    lengths.push_back({dataset.length(row, batch.swapped[i] != 0)});
    if (batcher.options().texts_per_row == 2) lengths.push_back({dataset.length(row, true), batcher.prefix(row)});
  }
  return lengths;
}

/** One product of the scores that the texts' own tokens see of each other, over the model's layers. */
double seen_pair_flops(const DecoderSpec& spec, const std::vector<TextLength>& texts) {
  double flops = 0;
  // The last layer's queries are the texts' last tokens alone; next to nothing.
  for (int64_t layer = 0; layer + 1 < spec.num_hidden_layers; ++layer) {
    const AttentionSpec& attention = spec.block(layer).attention;
    const auto pairs_of = [&](int64_t tokens) {
      const auto length = static_cast<double>(tokens);
      auto window = std::min(length, static_cast<double>(attention.sliding_window.value_or(INT64_MAX)));
      return window * (window + 1) / 2 + (length - window) * window;
    };
    double pairs = 0;
    for (const TextLength& text : texts) pairs += pairs_of(text.tokens) - pairs_of(text.prefix);
    flops += 2 * pairs * static_cast<double>(attention.query_features());
  }
  return flops;
}

}  // namespace

FlopCount batch_flops(const FlopCount& stated, const StepOptions& options, const Batch& batch, const Batcher& batcher) {
  const double of_one_product = seen_pair_flops(options.model.spec, text_lengths(batch, batcher));
  FlopCount flops = stated;
  for (auto& [op, count] : flops) {
    const KernelDefinition* kernel = options.model.kernels.find(op);
    if (kernel != nullptr && kernel->products_per_seen_pair > 0)
      count = kernel->products_per_seen_pair * of_one_product;
  }
  return flops;
}

double StepWork::flops(const Batch& batch, int64_t step) {
  const BatchShape shape{batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.labels.shape()[0]};
  const bool head_only = step < options_.rates.head_only_steps;
  const auto key = std::tuple(shape.sequences, shape.length, shape.rows, head_only);
  auto found = stated_.find(key);
  if (found == stated_.end()) {
    StepOptions options = options_;
    options.model.freeze_adapters = head_only;
    found = stated_.emplace(key, model_flops(options, shape)).first;
  }
  double sum = 0;
  for (const auto& [op, flops] : batch_flops(found->second, options_, batch, batcher_)) sum += flops;
  return sum;
}

}  // namespace gavel
