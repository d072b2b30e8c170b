#include "setup/open_model.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "io/model_path.h"
#include "model/adapter.h"
#include "rows/cleaning.h"
#include "setup/initial_head.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;

void fetch_base_model(const Recipe& recipe) {
  fetch_model(recipe.model.path,
              {.weights = !recipe.model.random_init, .tokenizer = !recipe.model.tokenizer.has_value()});
}

ModelConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files) {
  fs::path path = recipe.model.path;
  if (recipe.model.random_init) {
    if (is_hub_model(path)) path = resolve_model_path(path, {.weights = false, .tokenizer = false});
    if (fs::exists(path / "config.json")) return ModelConfig::from_file(path / "config.json");
    if (!fs::exists(path)) return built_in_shape(recipe.model.path);
  }
  files = ModelFiles::open(path);
  return files->config();
}

DecoderSpec spec_of(const ModelConfig& config, const std::optional<ModelFiles>& files) {
  return files ? files->spec() : decoder_spec(config);
}

BaseModel open_base_model(const Recipe& recipe) {
  std::optional<ModelFiles> files;
  const ModelConfig config = load_config(recipe, files);
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  if (recipe.model.random_init) files.reset();
  DecoderSpec spec = spec_of(config, files);
  return {std::move(files), std::move(spec), std::move(tokenizer)};
}

Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config) {
  Tokenizer tokenizer =
      Tokenizer::load(recipe.model.tokenizer ? fs::path(*recipe.model.tokenizer)
                                             : resolve_model_path(recipe.model.path, kTokenizerFiles));
  std::optional<int64_t> pad = config.pad_token_id;
  const std::optional<int64_t> own = tokenizer.pad_id(), eos = tokenizer.eos_id();
  if (pad && own && *pad != *own)
    spdlog::info(
        "the config's pad_token_id is {}, the tokenizer's pad token {}: the config's is used, as transformers does",
        *pad, *own);
  if (!pad) pad = own ? own : eos;
  if (!pad) pad = config.eos_token_id;
  if (pad) tokenizer.set_pad_id(static_cast<int32_t>(*pad));
  if (tokenizer.vocab_size() > config.vocab_size)
    fail("model.tokenizer: it has {} tokens, the model {} has {} embeddings: they do not belong together",
         tokenizer.vocab_size(), recipe.model.path, config.vocab_size);
  return tokenizer;
}

TextEncoder make_encoder(const Tokenizer& tokenizer) {
  TextEncoder encoder;
  encoder.encode = [tokenizer](std::string_view text, std::vector<int32_t>& ids) { tokenizer.encode(text, ids); };
  encoder.encode_around = [tokenizer](std::string_view text, std::span<const TextEncoder::ByteRange> foreign,
                                      std::vector<int32_t>& ids) { tokenizer.encode_around(text, foreign, ids); };
  encoder.prefix = tokenizer.prefix();
  encoder.suffix = tokenizer.suffix();
  encoder.pad_id = tokenizer.pad_id().value_or(-1);
  uint64_t content = hash_text(tokenizer.to_json(), hash_text(MappedFile::open("/proc/self/exe")->text(), 0));
  encoder.fingerprint = fmt::format("{:016x}", content);
  return encoder;
}

void load_weights(Engine& engine, const Recipe& recipe, const BaseModel& base) {
  if (base.files)
    engine.load_frozen(*base.files);
  else
    engine.random_frozen(static_cast<uint64_t>(recipe.train.seed));
}

namespace {

std::string said(const auto& value) {
  return fmt::format("{}", value);
}
std::string said(const std::vector<std::string>& names) {
  return fmt::format("[{}]", fmt::join(names, ", "));
}
std::string said(const std::optional<std::vector<int64_t>>& layers) {
  return layers ? fmt::format("[{}]", fmt::join(*layers, ", ")) : "null";
}

}  // namespace

Recipe with_adapter_settings(const Recipe& recipe) {
  if (!recipe.lora.init_adapter) return recipe;
  const fs::path folder = *recipe.lora.init_adapter;
  if (recipe.train.resume == Recipe::Resume::kAuto && !fs::exists(folder)) return recipe;
  std::optional<ModelFiles> files;
  const LoraConfig found = adapter_settings(PeftConfig::read(folder), decoder_spec(load_config(recipe, files)));
  Recipe out = recipe;
  auto take = [&]<class T>(const char* key, T& setting, const T& value) {
    if (setting == value) return;
    spdlog::info("lora.init_adapter has {} {}, which is taken in place of the recipe's {}", key, said(value),
                 said(setting));
    setting = value;
  };
  const std::vector<int64_t>& layers = found.layers_to_transform;
  take("layers_to_transform", out.lora.layers_to_transform, layers.empty() ? std::nullopt : std::optional(layers));
  // The order of names has no meaning.
  auto sorted = [](std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    return names;
  };
  take("r", out.lora.r, found.r);
  take("lora_alpha", out.lora.lora_alpha, found.lora_alpha);
  take("use_rslora", out.lora.use_rslora, found.use_rslora);
  take("use_dora", out.lora.use_dora, found.use_dora);
  if (sorted(out.lora.target_modules) != sorted(found.target_modules))
    take("target_modules", out.lora.target_modules, found.target_modules);
  return out;
}

namespace {

/** The lengths of a weight's rows in all layers, [layers, out]: magnitudes that leave the base as it is. */
HostTensor base_magnitudes(const TensorSpec& weight, const StepOptions& options, const BaseModel& base) {
  const int64_t layers = base.spec.num_hidden_layers, out = weight.shape[0];
  HostTensor all(DType::kF32, {layers, out});
  for (int64_t layer = 0; layer < layers; ++layer) {
    auto target = all.as_mutable<float>().subspan(static_cast<size_t>(layer * out), static_cast<size_t>(out));
    if (base.files) {
      const HostTensor lengths =
          row_lengths(base.files->read_held(name_in_layer(weight.name, layer), weight, options.model.storage()));
      std::copy_n(lengths.as<float>().begin(), target.size(), target.begin());
    } else {
      // Of random weights, which are for speed alone, about that much.
      std::fill(target.begin(), target.end(),
                static_cast<float>(base.spec.initializer_range * std::sqrt(static_cast<double>(weight.shape[1]))));
    }
  }
  return all;
}

/** With a logit of ties, 0 where the adapter has none, if the task learns one. */
std::vector<HostTensor> initial_of_adapter(const fs::path& folder, const StepOptions& options, const BaseModel& base) {
  LoadedAdapterWeights adapter =
      read_adapter(PeftConfig::read(folder), base.spec, options.model.num_labels, base.files ? &*base.files : nullptr);
  if (options.model.learns_tie && !adapter.config.learns_tie) adapter.values.emplace_back(DType::kF32, Shape{1});
  if (!options.model.learns_tie && adapter.config.learns_tie) adapter.values.pop_back();
  const TrainableLayout layout = trainable_layout(options.model);
  if (layout.auxiliary) adapter.values.emplace_back(DType::kF32, layout.parameters[*layout.auxiliary].shape);
  return std::move(adapter.values);
}

}  // namespace

std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options, const BaseModel& base) {
  if (recipe.lora.init_adapter) return initial_of_adapter(*recipe.lora.init_adapter, options, base);
  const TrainableLayout layout = trainable_layout(options.model);
  std::vector<HostTensor> values;
  for (const TrainableParameter& parameter : layout.parameters)
    values.push_back(parameter.tensor.role == TensorRole::kAdapterMagnitude
                         ? HostTensor()
                         : initial_value(parameter, options.model.lora, base.spec.initializer_range,
                                         static_cast<uint64_t>(recipe.train.seed)));
  for (const auto& adapter : layout.adapters)
    if (adapter.magnitude) values[*adapter.magnitude] = base_magnitudes(adapter.weight, options, base);
  if (auto head = initial_head(recipe, options.model.num_labels, base)) values[layout.head] = *std::move(head);
  return values;
}

}  // namespace gavel
