#include "train/session.h"

#include "base/file.h"
#include "base/log.h"
#include "data/cleaning.h"
#include "kernels/ffi_handlers.h"
#include "model/adapter.h"
#include "pjrt/ffi.h"
#include "train/engine.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The data library's enums have the recipe's names. */
template <class Choice, class Parse>
auto translate(Choice choice, Parse parse) {
  return parse(choice_name(choice));
}

}  // namespace

Tokenizer load_tokenizer(const Recipe& recipe, const LlamaConfig& config) {
  Tokenizer tokenizer =
      Tokenizer::load(recipe.model.tokenizer ? fs::path(*recipe.model.tokenizer) : resolve_model_path(recipe.model.path));
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

EncodeOptions encode_options(const Recipe& recipe, const Tokenizer& tokenizer) {
  EncodeOptions options;
  bool chat = recipe.data.text_template == "chat";
  options.text = Template::parse(chat ? Template::chat_name(tokenizer.chat_template()) : recipe.data.text_template);
  options.truncation = translate(recipe.data.truncation, parse_truncation);
  options.max_length = recipe.data.max_length;
  options.proportional_shares = recipe.data.proportional_shares;
  return options;
}

ReadOptions read_options(const Recipe& recipe, Purpose purpose) {
  ReadOptions options;
  options.format = translate(recipe.data.format, parse_format);
  const Recipe::Columns& c = recipe.data.columns;
  options.columns = {c.id.value_or(""),      c.prompt.value_or(""),  c.response_a.value_or(""),
                     c.response_b.value_or(""), c.label_a.value_or(""), c.label_b.value_or(""),
                     c.label_tie.value_or(""),  c.winner.value_or("")};
  options.cells = translate(recipe.data.cells, parse_cells);
  options.purpose = purpose;
  options.strict = recipe.data.strict;
  options.drop_duplicates = recipe.data.drop_duplicates;
  return options;
}

BatchOptions batch_options(const Recipe& recipe, const Mesh& mesh) {
  BatchOptions options;
  options.sequence_multiple = mesh.batch_parts();
  options.batching = translate(recipe.data.batching, parse_batching);
  options.batch_size = recipe.train.batch_size;
  options.gradient_accumulation = recipe.train.gradient_accumulation;
  options.max_length = recipe.data.max_length;
  options.pad_to = recipe.data.pad_to;
  options.balance = recipe.data.balance;
  options.swap = translate(recipe.data.swap, parse_swap);
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  options.drop_before_shuffle = recipe.data.drop_before_shuffle;
  // The CPU kernels skip what other rows' tokens would cost; attention in StableHLO pays for all of a sequence.
  options.one_sequence = recipe.device == "cpu" && recipe.train.kernels == Recipe::Kernels::kAuto &&
                         mesh.batch_parts() == 1;
  return options;
}

std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices, const ProcessGroup& group) {
  pjrt::Options options;
  if (device == "cpu") {
    if (group.count > 1)
      fail("device: cpu: this is one of {} processes, and the CPU plugin can't join several (it has no option for it); start "
           "gavel once, or take device=cuda or device=tpu",
           group.count);
    options["cpu_device_count"] = cpu_devices;
  } else if (group.count > 1 && device != "tpu") {
    // TPU hosts know of each other by their own environment.
    options["node_id"] = int64_t{group.index};
    options["num_nodes"] = int64_t{group.count};
  }
  auto client = pjrt::Client::create(pjrt::Plugin::load(device), options, group.store);
  if (best_kernels(*client) == Kernels::kCpu) register_cpu_kernels(client->plugin());
  return client;
}

Kernels best_kernels(const pjrt::Client& client) {
  return client.platform_name() == "cpu" && pjrt::has_ffi(client.plugin()) ? Kernels::kCpu : Kernels::kPlain;
}

std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe, const ProcessGroup& group) {
  int64_t named = 1;
  for (int64_t size : {recipe.mesh.dp, recipe.mesh.fsdp, recipe.mesh.mp})
    if (size > 0) named *= size;
  return make_client(recipe.device, named, group);
}

ProcessGroup processes_of(const ProcessGroup& launched, const pjrt::Client& client) {
  if (launched.count > 1) return launched;
  ProcessGroup group;
  group.index = client.process_index();
  for (const pjrt::Device& device : client.global_devices()) group.count = std::max(group.count, device.process_index + 1);
  return group;
}

Mesh mesh_of(const Recipe& recipe, const pjrt::Client& client) {
  return resolve_mesh({recipe.mesh.dp, recipe.mesh.fsdp, recipe.mesh.mp}, static_cast<int64_t>(client.global_devices().size()));
}

Placement placement_of(const Recipe& recipe, const Mesh& mesh, const LlamaConfig& config) {
  return Placement(mesh, recipe.mesh.rules ? read_rules(*recipe.mesh.rules) : default_rules(), config);
}

StepOptions step_options(const Recipe& recipe, const LlamaConfig& config, const pjrt::Client& client) {
  StepOptions options = step_options(recipe, config, {client.platform_name() == "cpu", best_kernels(client)});
  options.model.placement = placement_of(recipe, mesh_of(recipe, client), config);
  for (const std::string& note : placement_notes(options.model)) spdlog::info("{}", note);
  return options;
}

StepOptions step_options(const Recipe& recipe, const LlamaConfig& config, const DeviceTraits& device) {
  StepOptions options;
  options.model.config = config;
  const Recipe::Lora& lora = recipe.lora;
  options.model.lora = {lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules, lora.use_rslora};
  options.model.num_labels = recipe.model.num_labels;
  options.model.dtype = recipe.model.dtype;
  bool is_cpu = device.is_cpu;
  bool plain = recipe.train.kernels == Recipe::Kernels::kPlain;
  options.model.kernels = plain ? Kernels::kPlain : device.kernels;
  switch (recipe.model.compute_dtype) {
    case Recipe::ComputeType::kBFloat16: options.model.compute_dtype = DType::kBF16; break;
    case Recipe::ComputeType::kFloat32: options.model.compute_dtype = DType::kF32; break;
    // On CPU bf16 pays where the processor has it and our kernels use it (docs/decisions.md).
    case Recipe::ComputeType::kAuto: {
      bool fast = !is_cpu || (options.model.kernels == Kernels::kCpu && __builtin_cpu_supports("avx512bf16"));
      options.model.compute_dtype = fast ? DType::kBF16 : DType::kF32;
      break;
    }
  }
  // Unrolled is the faster form on CPU, but its compile time and memory grow with the model.
  auto layer_size = static_cast<double>(config.hidden_size) * static_cast<double>(config.hidden_size + config.intermediate_size);
  bool small = layer_size * static_cast<double>(config.num_hidden_layers) < 1e9;
  switch (recipe.train.layers) {
    case Recipe::Layers::kScan: options.model.form = LayerForm::kScan; break;
    case Recipe::Layers::kUnrolled: options.model.form = LayerForm::kUnrolled; break;
    case Recipe::Layers::kAuto: options.model.form = is_cpu && small ? LayerForm::kUnrolled : LayerForm::kScan; break;
  }
  options.adam = {recipe.train.adam_beta1, recipe.train.adam_beta2, recipe.train.adam_epsilon, recipe.train.weight_decay};
  options.label_smoothing = recipe.train.label_smoothing;
  options.max_grad_norm = recipe.train.max_grad_norm.value_or(0);
  options.max_loss = recipe.train.max_loss.value_or(0);
  options.skip_nonfinite = recipe.train.skip_nonfinite;
  return options;
}

LlamaConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files) {
  fs::path path = recipe.model.path;
  if (recipe.model.random_init) {
    if (fs::exists(path / "config.json")) return LlamaConfig::from_file(path / "config.json");
    if (!fs::exists(path)) return built_in_shape(recipe.model.path);
  }
  files = ModelFiles::open(path);
  return files->config();
}

BaseModel open_base_model(const Recipe& recipe) {
  std::optional<ModelFiles> files;
  LlamaConfig config = load_config(recipe, files);
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  config.pad_token_id = tokenizer.pad_id();
  if (recipe.model.random_init) files.reset();
  return {std::move(files), std::move(config), std::move(tokenizer)};
}

void load_weights(Engine& engine, const Recipe& recipe, const BaseModel& base) {
  if (base.files)
    engine.load_frozen(*base.files);
  else
    engine.random_frozen(static_cast<uint64_t>(recipe.train.seed));
}

std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options) {
  const LlamaConfig& config = options.model.config;
  AdapterConfig adapter{options.model.lora, recipe.model.path};
  if (recipe.lora.init_adapter) {
    AdapterConfig initial = read_adapter_config(*recipe.lora.init_adapter);
    if (initial.lora.r != adapter.lora.r || initial.lora.target_modules.size() != adapter.lora.target_modules.size())
      fail("lora.init_adapter: {} has r {} on {} modules, the recipe says r {} on {}", *recipe.lora.init_adapter,
           initial.lora.r, initial.lora.target_modules.size(), adapter.lora.r, adapter.lora.target_modules.size());
    return read_adapter_weights(*recipe.lora.init_adapter, config, adapter, recipe.model.num_labels);
  }
  std::vector<HostTensor> values;
  for (const auto& spec : trainable_parameters(config, adapter.lora, recipe.model.num_labels))
    values.push_back(initial_value(spec, config.initializer_range, static_cast<uint64_t>(recipe.train.seed)));
  return values;
}

fs::path compile_cache_folder() { return cache_folder() / "compiled"; }

}  // namespace gavel
