#include "model/combine.h"

#include <cstring>
#include <map>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** weight [out, in] += scaling * b [out, r] * a [r, in] */
void add_product(std::span<float> weight, std::span<const float> a, std::span<const float> b, size_t rank,
                 float scaling) {
  const size_t in = a.size() / rank, out = b.size() / rank;
  for (size_t o = 0; o < out; ++o) {
    float* row = weight.data() + o * in;
    for (size_t k = 0; k < rank; ++k) {
      const float factor = scaling * b[o * rank + k];
      const float* from = a.data() + k * in;
      for (size_t i = 0; i < in; ++i) row[i] += factor * from[i];
    }
  }
}

/** Gives each row of a weight [out, in] the length that `magnitudes` has for it. */
void scale_rows(HostTensor& weight, std::span<const float> magnitudes) {
  const HostTensor lengths = row_lengths(weight);
  auto values = weight.as_mutable<float>();
  const size_t columns = values.size() / magnitudes.size();
  for (size_t row = 0; row < magnitudes.size(); ++row) {
    const float factor = magnitudes[row] / lengths.as<float>()[row];
    for (float& value : values.subspan(row * columns, columns)) value *= factor;
  }
}

std::span<const float> layer_of(const HostTensor& stacked, size_t layer) {
  auto all = stacked.as<float>();
  size_t size = all.size() / static_cast<size_t>(stacked.shape()[0]);
  return all.subspan(layer * size, size);
}

/** Mean over the adapters of one tensor, each times its factor. */
HostTensor mean_of(const std::vector<LoadedAdapterWeights>& adapters, size_t index,
                   const std::vector<double>& factors) {
  const HostTensor& first = adapters[0].values[index];
  HostTensor mean(DType::kF32, first.shape());
  auto out = mean.as_mutable<float>();
  std::vector<double> sums(out.size());
  for (size_t i = 0; i < adapters.size(); ++i) {
    auto values = adapters[i].values[index].as<float>();
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += factors[i] * static_cast<double>(values[k]);
  }
  for (size_t k = 0; k < sums.size(); ++k) out[k] = static_cast<float>(sums[k] / static_cast<double>(adapters.size()));
  return mean;
}

/** Stacks matrices [layers, rows, columns] along `axis` (1 or 2), each times its factor. */
HostTensor joined(const std::vector<LoadedAdapterWeights>& adapters, size_t index, size_t axis,
                  const std::vector<double>& factors) {
  Shape shape = adapters[0].values[index].shape();
  shape[axis] = 0;
  for (const auto& adapter : adapters) shape[axis] += adapter.values[index].shape()[axis];
  HostTensor whole(DType::kF32, shape);
  auto out = whole.as_mutable<float>();
  const auto columns = static_cast<size_t>(shape[2]), rows = static_cast<size_t>(shape[1]);
  size_t row_at = 0, column_at = 0;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const HostTensor& part = adapters[i].values[index];
    const auto part_rows = static_cast<size_t>(part.shape()[1]), part_columns = static_cast<size_t>(part.shape()[2]);
    auto values = part.as<float>();
    for (size_t layer = 0; layer < static_cast<size_t>(shape[0]); ++layer)
      for (size_t r = 0; r < part_rows; ++r)
        for (size_t c = 0; c < part_columns; ++c)
          out[(layer * rows + row_at + r) * columns + column_at + c] =
              static_cast<float>(factors[i] * static_cast<double>(values[(layer * part_rows + r) * part_columns + c]));
    (axis == 1 ? row_at : column_at) += axis == 1 ? part_rows : part_columns;
  }
  return whole;
}

}  // namespace

void merge_adapter(const ModelFiles& files, const BaseStorage& held, const LoadedAdapterWeights& adapter,
                   const fs::path& folder, DType dtype) {
  const std::vector<HostTensor>& values = adapter.values;
  const LoraConfig& lora = adapter.config.lora;
  TrainableLayout layout = trainable_layout(files.spec(), lora, 1, adapter.config.learns_tie);
  if (layout.parameters.size() != values.size())
    fail("merge: {} trainable tensors expected, {} given", layout.parameters.size(), values.size());
  struct Update {
    const TrainableLayout::Adapter* adapter;
    size_t layer;
  };
  std::map<std::string, Update> updates;  // by name of the base's weight
  for (const auto& linear : layout.adapters)
    for (int64_t layer = 0; layer < files.spec().num_hidden_layers; ++layer)
      updates[name_in_layer(linear.weight.name, layer)] = {&linear, static_cast<size_t>(layer)};
  ExportChanges changes;
  const std::map<std::string, TensorSpec> specs = specs_by_name(files.spec());
  changes.read = [&](const std::string& name) {
    HostTensor base = files.read_held(name, specs.at(name), held);
    auto update = updates.find(name);
    if (update == updates.end()) return base;
    const auto& [linear, layer] = update->second;
    HostTensor wide = base.to(DType::kF32), sum(DType::kF32, wide.shape());
    std::memcpy(sum.mutable_data(), wide.data(), wide.bytes());
    add_product(sum.as_mutable<float>(), layer_of(values[linear->a], layer), layer_of(values[linear->b], layer),
                static_cast<size_t>(lora.r), static_cast<float>(lora.scaling()));
    if (linear->magnitude) scale_rows(sum, layer_of(values[*linear->magnitude], layer));
    return sum;
  };
  changes.added = {{layout.parameters[layout.head].tensor.name, values[layout.head]}};
  export_folder(files, folder, dtype, layout.num_labels(values), changes);
}

AverageMethod parse_average_method(std::string_view name) {
  if (name == "exact") return AverageMethod::kExact;
  if (name == "factors") return AverageMethod::kFactors;
  fail("method: expected exact or factors, found '{}'{}", name, did_you_mean(name, {"exact", "factors"}));
}

LoadedAdapterWeights average_adapters(const DecoderSpec& spec, const std::vector<LoadedAdapterWeights>& adapters,
                                      AverageMethod method) {
  if (adapters.empty()) fail("average: there are no adapters");
  const LoadedAdapterWeights& first = adapters.front();
  const TrainableLayout layout = trainable_layout(spec, first.config.lora, 1, first.config.learns_tie);
  auto head_shape = [&](const LoadedAdapterWeights& adapter) { return adapter.values.at(layout.head).shape(); };
  for (const auto& adapter : adapters) {
    if (adapter.config.lora.use_dora)
      fail("average: adapters with use_dora have no mean that is such an adapter: average merged models instead");
    if (adapter.config.lora.target_modules != first.config.lora.target_modules ||
        adapter.values.size() != first.values.size())
      fail("average: the adapters adapt different modules");
    if (head_shape(adapter) != head_shape(first))
      fail("average: the heads have shapes {} and {}", to_string(head_shape(first)), to_string(head_shape(adapter)));
    if (method == AverageMethod::kFactors && adapter.config.lora.r != first.config.lora.r)
      fail("average: the adapters have ranks {} and {}; the method 'exact' takes any ranks", first.config.lora.r,
           adapter.config.lora.r);
  }
  const std::vector<double> ones(adapters.size(), 1.0);
  std::vector<double> scalings, shares;
  LoadedAdapterWeights out;
  out.config = first.config;
  out.config.lora.r = 0;
  for (const auto& adapter : adapters) {
    if (adapter.config.lora.layers_to_transform != first.config.lora.layers_to_transform)
      out.config.lora.layers_to_transform.clear();
    scalings.push_back(adapter.config.lora.scaling());
    shares.push_back(scalings.back() / static_cast<double>(adapters.size()));
    out.config.lora.r += adapter.config.lora.r;
  }
  if (method == AverageMethod::kFactors) out.config.lora.r = first.config.lora.r;
  // Each adapter's own scaling is in its B from here on.
  out.config.lora.lora_alpha = static_cast<double>(out.config.lora.r);
  out.config.lora.use_rslora = false;
  out.values.resize(first.values.size());
  constexpr size_t kRankOfA = 1, kRankOfB = 2;  // dimensions
  for (const auto& adapter : layout.adapters) {
    const size_t a = adapter.a, b = adapter.b;
    const bool exact = method == AverageMethod::kExact;
    out.values[a] = exact ? joined(adapters, a, kRankOfA, ones) : mean_of(adapters, a, ones);
    out.values[b] = exact ? joined(adapters, b, kRankOfB, shares) : mean_of(adapters, b, scalings);
  }
  out.values[layout.head] = mean_of(adapters, layout.head, ones);
  if (layout.tie) out.values[*layout.tie] = mean_of(adapters, *layout.tie, ones);
  return out;
}

}  // namespace gavel
