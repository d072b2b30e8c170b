#include "setup/open_model.h"

#include "base/error.h"
#include "base/file.h"
#include "io/model_path.h"
#include "model/adapter.h"
#include "rows/cleaning.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;

ModelConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files) {
  fs::path path = recipe.model.path;
  if (recipe.model.random_init) {
    if (fs::exists(path / "config.json")) return ModelConfig::from_file(path / "config.json");
    if (!fs::exists(path)) return built_in_shape(recipe.model.path);
  }
  files = ModelFiles::open(path);
  return files->config();
}

BaseModel open_base_model(const Recipe& recipe) {
  std::optional<ModelFiles> files;
  const ModelConfig config = load_config(recipe, files);
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  if (recipe.model.random_init) files.reset();
  return {std::move(files), decoder_spec(config), std::move(tokenizer)};
}

Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config) {
  Tokenizer tokenizer = Tokenizer::load(recipe.model.tokenizer ? fs::path(*recipe.model.tokenizer)
                                                               : resolve_model_path(recipe.model.path));
  if (!tokenizer.pad_id()) {
    auto pad = config.pad_token_id ? config.pad_token_id : std::optional<int64_t>(tokenizer.eos_id());
    if (!pad) pad = config.eos_token_id;
    if (pad) tokenizer.set_pad_id(static_cast<int32_t>(*pad));
  }
  if (tokenizer.vocab_size() > config.vocab_size)
    fail("model.tokenizer: it has {} tokens, the model {} has {} embeddings: they do not belong together",
         tokenizer.vocab_size(), recipe.model.path, config.vocab_size);
  return tokenizer;
}

TextEncoder make_encoder(const Tokenizer& tokenizer) {
  TextEncoder encoder;
  encoder.encode = [tokenizer](std::string_view text, std::vector<int32_t>& ids) { tokenizer.encode(text, ids); };
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

std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options) {
  const DecoderSpec& spec = options.model.spec;
  AdapterConfig adapter{options.model.lora, recipe.model.path};
  if (recipe.lora.init_adapter) {
    AdapterConfig initial = read_adapter_config(*recipe.lora.init_adapter);
    if (initial.lora.r != adapter.lora.r || initial.lora.target_modules.size() != adapter.lora.target_modules.size())
      fail("lora.init_adapter: {} has r {} on {} modules, the recipe says r {} on {}", *recipe.lora.init_adapter,
           initial.lora.r, initial.lora.target_modules.size(), adapter.lora.r, adapter.lora.target_modules.size());
    return read_adapter_weights(*recipe.lora.init_adapter, spec, adapter, options.model.num_labels);
  }
  std::vector<HostTensor> values;
  for (const TrainableParameter& parameter : trainable_layout(options.model).parameters)
    values.push_back(initial_value(parameter, spec.initializer_range, static_cast<uint64_t>(recipe.train.seed)));
  return values;
}

}  // namespace gavel
