#include "train/session.h"

#include "base/file.h"
#include "base/log.h"
#include "data/cleaning.h"
#include "kernels/ffi_handlers.h"
#include "model/adapter.h"
#include "nn/cpu_kernels.h"
#include "spec/family.h"
#include "train/engine.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The data library's enums have the recipe's names. */
template <class Choice, class Parse>
auto translate(Choice choice, Parse parse) {
  return parse(choice_name(choice));
}

Kernels kernels_of(const Recipe& recipe, const DeviceTraits& device) {
  return recipe.train.kernels == Recipe::Kernels::kPlain ? Kernels() : device.kernels;
}

}  // namespace

Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config) {
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

std::shared_ptr<const Task> task_of(const Recipe& recipe) { return judging_task(recipe.model.num_labels); }

TokenizeOptions tokenize_options(const Recipe& recipe, const Tokenizer& tokenizer) {
  TokenizeOptions options;
  options.encode = [task = task_of(recipe)](const PreferenceRow& row, bool swap, const EncodeOptions& how,
                                            const TextEncoder& encoder) { return task->encode(row, swap, how, encoder); };
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
  options.ties = task_of(recipe)->ties();
  options.purpose = purpose;
  options.strict = recipe.data.strict;
  options.drop_duplicates = recipe.data.drop_duplicates;
  return options;
}

BatchOptions batch_options(const Recipe& recipe, const DeviceTraits& device, const Mesh& mesh) {
  BatchOptions options;
  options.num_labels = task_of(recipe)->num_labels();
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
  // Attention in StableHLO pays for all of a sequence, also for what other rows' tokens cost.
  options.one_sequence = kernels_of(recipe, device).skip_unseen_keys() && mesh.batch_parts() == 1;
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
  if (device_traits(*client).kernels == Kernels(cpu_kernels())) register_cpu_kernels(client->plugin());
  return client;
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

Placement placement_of(const Recipe& recipe, const Mesh& mesh, const DecoderSpec& spec) {
  return Placement(mesh, recipe.mesh.rules ? read_rules(*recipe.mesh.rules) : std::vector<PartitionRule>(), spec);
}

StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client) {
  StepOptions options = step_options(recipe, spec, device_traits(client));
  options.model.placement = placement_of(recipe, mesh_of(recipe, client), spec);
  for (const std::string& note : placement_notes(options.model)) spdlog::info("{}", note);
  return options;
}

StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const DeviceTraits& device) {
  StepOptions options;
  options.task = task_of(recipe);
  options.model.spec = spec;
  const Recipe::Lora& lora = recipe.lora;
  options.model.lora = {lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules, lora.use_rslora};
  options.model.num_labels = options.task->num_labels();
  options.model.dtype = recipe.model.dtype;
  options.model.kernels = kernels_of(recipe, device);
  switch (recipe.model.compute_dtype) {
    case Recipe::ComputeType::kBFloat16: options.model.compute_dtype = DType::kBF16; break;
    case Recipe::ComputeType::kFloat32: options.model.compute_dtype = DType::kF32; break;
    case Recipe::ComputeType::kAuto:
      options.model.compute_dtype = device.fastest_compute_dtype(options.model.kernels);
      break;
  }
  // Compile time and memory of written-out layers grow with the model.
  const auto intermediate = spec.blocks.front().feed_forward.up_proj.out_features();
  auto layer_size = static_cast<double>(spec.hidden_size) * static_cast<double>(spec.hidden_size + intermediate);
  bool small = layer_size * static_cast<double>(spec.num_hidden_layers) < 1e9;
  switch (recipe.train.layers) {
    case Recipe::Layers::kScan: options.model.form = LayerForm::kScan; break;
    case Recipe::Layers::kUnrolled: options.model.form = LayerForm::kUnrolled; break;
    case Recipe::Layers::kAuto:
      options.model.form = device.unrolls_small_models && small ? LayerForm::kUnrolled : LayerForm::kScan;
      break;
  }
  options.adam = {recipe.train.adam_beta1, recipe.train.adam_beta2, recipe.train.adam_epsilon, recipe.train.weight_decay};
  options.label_smoothing = recipe.train.label_smoothing;
  options.max_grad_norm = recipe.train.max_grad_norm.value_or(0);
  options.max_loss = recipe.train.max_loss.value_or(0);
  options.skip_nonfinite = recipe.train.skip_nonfinite;
  return options;
}

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
  ModelConfig config = load_config(recipe, files);
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  config.pad_token_id = tokenizer.pad_id();
  if (recipe.model.random_init) files.reset();
  DecoderSpec spec = decoder_spec(config);
  return {std::move(files), std::move(config), std::move(spec), std::move(tokenizer)};
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

fs::path compile_cache_folder() { return cache_folder() / "compiled"; }

}  // namespace gavel
