#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/engine.h"
#include "io/gguf_samples.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "nn/cpu_kernels.h"
#include "setup/random_rows.h"
#include "setup/test_support.h"
#include "spec/family.h"
#include "spec/mesh_llama.h"

// Quantised bases, and what training on them gives, for the tests of them. The namespace is there since this folder's tests are
// compiled as one.
namespace gavel::quantised_tests {

namespace fs = std::filesystem;

/** Groups of 64 divide what goes into its linears. */
inline ModelConfig small_model() {
  ModelConfig c = mesh_llama(3);
  c.intermediate_size = 128;
  c.attention_bias = true;
  c.initializer_range = 0.1;
  return c;
}

/** A folder of random float32 weights. */
inline void write_base(const fs::path& folder, const ModelConfig& config) {
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

/** A base, and beside it the numbers that `storage` makes of it: a folder, or with BaseStorage::as_file a GGUF file with
 * K-quants. */
class QuantisedBase {
 public:
  explicit QuantisedBase(const BaseStorage& storage) : scratch_("gavel_quantised_test"), storage_(storage) {
    if (storage.as_file)
      write_file(path(), k_quant_gguf(k_quant_config()).bytes());
    else
      write_base(path(), small_model());
    const ModelFiles base = files();
    const std::map<std::string, TensorSpec> specs = specs_by_name(base.spec());
    ExportChanges changes;
    changes.read = [&](const std::string& name) { return base.read_held(name, specs.at(name), storage_); };
    export_folder(base, scratch_.path() / "numbers", DType::kF32, 3, changes);
  }
  ModelFiles files() const { return ModelFiles::open(path()); }
  ModelFiles numbers() const { return ModelFiles::open(scratch_.path() / "numbers"); }
  fs::path folder(const std::string& name) const { return scratch_.path() / name; }
  const BaseStorage& storage() const { return storage_; }

 private:
  fs::path path() const { return scratch_.path() / (storage_.as_file ? "base.gguf" : "base"); }

  TempFolder scratch_;
  BaseStorage storage_;
};

inline StepOptions step_with(const BaseStorage& storage, Kernels kernels, LayerForm form,
                             std::vector<std::string> targets, const DecoderSpec& spec = decoder_spec(small_model())) {
  StepOptions step;
  step.model.spec = spec;
  step.model.lora = {4, 8, 0.2, std::move(targets), false};
  step.model.dtype = storage.dtype;
  step.model.quantisation = storage.quantisation;
  step.model.as_file = storage.as_file;
  step.model.kernels = kernels;
  step.model.form = form;
  return step;
}

/** Adapters of some size, so that all gradients are. */
inline std::vector<HostTensor> some_adapters(const StepOptions& step) {
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

inline Batch some_batch() {
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

inline Trained trained_on(Engine& engine) {
  engine.set_trainable(some_adapters(engine.options()));
  const Batch batch = some_batch();
  Trained out;
  std::tie(out.gradients, out.logits) = engine.gradients(batch, 11);
  for (int64_t i = 0; i < 3; ++i) out.losses.push_back(engine.train_step({&batch, 1}, i, 1e-3, 8, 11).get().loss);
  out.weights = engine.trainable();
  return out;
}

inline Trained trained_on(const ModelFiles& files, const StepOptions& step) {
  Engine engine(test_client(), step, test_compile_cache());
  engine.load_frozen(files);
  return trained_on(engine);
}

/** The largest difference, as a share of the largest number. */
inline double difference(const HostTensor& found, const HostTensor& wanted) {
  double largest = 0, most = 0;
  for (size_t i = 0; i < wanted.as<float>().size(); ++i) {
    most = std::max(most, std::fabs(double{wanted.as<float>()[i]}));
    largest = std::max(largest, std::fabs(double{wanted.as<float>()[i]} - found.as<float>()[i]));
  }
  EXPECT_GT(most, 0) << "nothing is compared";
  return largest / most;
}

inline void expect_alike(const Trained& found, const Trained& wanted) {
  EXPECT_LT(difference(found.logits, wanted.logits), 1e-5);
  ASSERT_EQ(found.gradients.size(), wanted.gradients.size());
  for (size_t i = 0; i < wanted.gradients.size(); ++i) {
    EXPECT_LT(difference(found.gradients[i], wanted.gradients[i]), 1e-5) << "gradient " << i;
    EXPECT_LT(difference(found.weights[i], wanted.weights[i]), 1e-4) << "weight " << i;
  }
  for (size_t i = 0; i < wanted.losses.size(); ++i) EXPECT_NEAR(found.losses[i], wanted.losses[i], 1e-5);
}

}  // namespace gavel::quantised_tests
