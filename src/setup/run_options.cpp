#include "setup/run_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "chat/chat_template.h"
#include "setup/open_device.h"

namespace gavel {

namespace {

Kernels kernels_of(const Recipe& recipe, const DeviceTraits& device) {
  // The processor's kernels take no float16; those of accelerators say themselves what they accept.
  const bool half = device.is_host && (recipe.model.compute_dtype == Recipe::ComputeType::kFloat16 ||
                                       recipe.model.dtype == Recipe::BaseType::kFloat16);
  return half || recipe.train.kernels == Recipe::Kernels::kPlain ? Kernels() : device.kernels;
}

/** In the model's own chat format: the judged text as a user's message, or conversations. */
Template chat_text(const Tokenizer& tokenizer, bool conversations) {
  if (tokenizer.chat_template().empty())
    fail(
        "data.template: chat: {} has no chat template (chat_template in tokenizer_config.json, chat_template.jinja, or "
        "tokenizer.chat_template in a GGUF file): write the text out, with {{prompt}}, {{response_a}} and "
        "{{response_b}} (of a reward {{prompt}} and {{response}})",
        tokenizer.source());
  // What the tokenizer puts before every text, the template must not write a second time.
  const std::vector<int32_t>& prefix = tokenizer.prefix();
  ChatTemplate chat = ChatTemplate::parse(tokenizer.chat_template(), tokenizer.source(), tokenizer.special_tokens());
  std::string begin_token = prefix.empty() ? "" : tokenizer.id_to_token(prefix.front());
  return conversations ? Template::chat_conversation(std::move(chat), std::move(begin_token))
                       : Template::chat(std::move(chat), std::move(begin_token));
}

/** Whether batches hold the tokens that a row's two texts begin with once. A sliding window counts places, so it must leave
 * nothing of a text out: in a shared sequence the second text stands further from its beginning than it does alone. */
bool shares_prefixes(const Recipe& recipe, const DecoderSpec* spec) {
  if (!recipe.data.share_prompts || recipe.data.batching != Batching::kPacked || task_of(recipe)->texts_per_row() != 2)
    return false;
  return spec == nullptr || std::ranges::all_of(spec->blocks, [&](const BlockSpec& block) {
           return block.attention.sliding_window.value_or(INT64_MAX) >= recipe.data.max_length;
         });
}

std::string question_of(const Recipe& recipe) {
  if (recipe.data.question != "default") return *recipe.data.question;
  return recipe.model.num_labels == 2 ? "Which answer is better? Reply with A or B."
                                      : "Which answer is better? Reply with A, B or tie.";
}

}  // namespace

std::shared_ptr<const Task> task_of(const Recipe& recipe) {
  if (recipe.task == Recipe::TaskKind::kJudge)
    return recipe.reads_single_answers() ? siamese_task(recipe.model.num_labels)
                                         : judging_task(recipe.model.num_labels);
  switch (recipe.reward.loss) {
    case Recipe::RewardLoss::kRegression:
      return single_reward_task(SingleLoss::kSquaredError);
    case Recipe::RewardLoss::kBce:
      return single_reward_task(SingleLoss::kBinaryCrossEntropy);
    case Recipe::RewardLoss::kPairs:
      break;
  }
  return reward_task({recipe.reward.ties == Recipe::RewardTies::kDavidson, recipe.reward.center_coefficient,
                      recipe.data.columns.margin.has_value() || recipe.reward.score_margin > 0});
}

TokenizeOptions tokenize_options(const Recipe& recipe, const Tokenizer& tokenizer) {
  TokenizeOptions options;
  options.task = task_of(recipe)->name();
  options.encode = [task = task_of(recipe)](const PreferenceRow& row, bool swap, const EncodeOptions& how,
                                            const TextEncoder& encoder) {
    return task->encode(row, swap, how, encoder);
  };
  const bool both_texts = task_of(recipe)->texts_per_row() == 2, chat = recipe.data.text_template == "chat";
  const bool conversations = recipe.reads_single_answers();
  if (chat)
    options.text = chat_text(tokenizer, conversations);
  else
    options.text = conversations ? Template::parse_conversation(recipe.data.text_template)
                                 : Template::parse(recipe.data.text_template);
  if (recipe.data.question) options.text = options.text.with_question(question_of(recipe));
  options.with_swapped = both_texts;
  options.truncation = recipe.data.truncation;
  options.max_length = recipe.data.max_length;
  options.proportional_shares = recipe.data.proportional_shares;
  return options;
}

ReadOptions read_options(const Recipe& recipe, Purpose purpose) {
  ReadOptions options;
  options.format = recipe.data.format;
  const Recipe::Columns& c = recipe.data.columns;
  options.columns = {.id = c.id.value_or(""),
                     .prompt = c.prompt.value_or(""),
                     .response_a = c.response_a.value_or(""),
                     .response_b = c.response_b.value_or(""),
                     .label_a = c.label_a.value_or(""),
                     .label_b = c.label_b.value_or(""),
                     .label_tie = c.label_tie.value_or(""),
                     .winner = c.winner.value_or(""),
                     .score = c.score.value_or("")};
  options.spellings = {recipe.data.spellings.a, recipe.data.spellings.b, recipe.data.spellings.tie};
  options.unit_scores = recipe.task == Recipe::TaskKind::kReward && recipe.reward.loss == Recipe::RewardLoss::kBce;
  options.cells = recipe.data.cells;
  options.max_dropped = recipe.data.max_dropped;
  options.max_cell_bytes = recipe.data.max_cell_bytes;
  options.ties = task_of(recipe)->ties();
  options.purpose = purpose;
  options.strict = recipe.data.strict;
  options.drop_duplicates = recipe.data.drop_duplicates;
  return options;
}

ReadOptions training_read_options(const Recipe& recipe, Purpose purpose) {
  ReadOptions options = read_options(recipe, purpose);
  if (task_of(recipe)->reads_scores() && recipe.data.format != Format::kScored)
    fail("reward.loss: {} learns from scores of single answers: expected data.format: scored, found {}",
         choice_name(recipe.reward.loss), choice_name(recipe.data.format));
  const Recipe::Columns& c = recipe.data.columns;
  options.columns.weight = c.weight.value_or("");
  options.columns.margin = c.margin.value_or("");
  options.columns.teacher_a = c.teacher_a.value_or("");
  options.columns.teacher_b = c.teacher_b.value_or("");
  options.columns.teacher_tie = c.teacher_tie.value_or("");
  if (!c.auxiliary.empty()) {
    options.columns.auxiliary_a = c.auxiliary.at(0);
    options.columns.auxiliary_b = c.auxiliary.at(1);
  }
  options.score_margin = recipe.reward.score_margin;
  return options;
}

BatchOptions batch_options(const Recipe& recipe, const DeviceTraits& device, const Mesh& mesh,
                           const DecoderSpec* spec) {
  BatchOptions options;
  options.num_labels = task_of(recipe)->num_targets();
  options.scores = task_of(recipe)->reads_scores();
  options.texts_per_row = task_of(recipe)->texts_per_row();
  options.share_prefixes = shares_prefixes(recipe, spec);
  options.sequence_multiple = mesh.batch_parts();
  options.batching = recipe.data.batching;
  options.batch_size = recipe.train.batch_size;
  options.gradient_accumulation = recipe.train.gradient_accumulation;
  options.max_length = recipe.data.max_length;
  options.pad_to = recipe.data.pad_to;
  options.balance = recipe.data.balance;
  options.swap = recipe.data.swap;
  options.curriculum = recipe.data.curriculum;
  options.curriculum_steps = recipe.train.max_steps.value_or(0);
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  options.drop_before_shuffle = recipe.data.drop_before_shuffle;
  // Attention in StableHLO pays for all of a sequence, also for what other rows' tokens cost.
  options.one_sequence = kernels_of(recipe, device).skip_unseen_keys() && mesh.batch_parts() == 1;
  return options;
}

Placement placement_of(const Recipe& recipe, const Mesh& mesh, const DecoderSpec& spec) {
  return Placement(mesh, recipe.mesh.rules ? read_rules(*recipe.mesh.rules) : std::vector<PartitionRule>(), spec);
}

ChosenMesh choose_mesh(const Recipe& recipe, const StepOptions& step, int64_t devices, int64_t memory) {
  const Recipe::Mesh& mesh = recipe.mesh;
  if (mesh.dp != -1 || mesh.fsdp != -1) return {resolve_mesh({mesh.dp, mesh.fsdp, mesh.mp}, devices), ""};
  const Mesh split = resolve_mesh({1, -1, mesh.mp}, devices);
  if (split.fsdp == 1) return {split, ""};
  double held = 0;
  for (const FrozenParameter& p : frozen_parameters(step.model))
    held += static_cast<double>(num_elements(p.shape)) * static_cast<double>(byte_size(p.dtype));
  // In float32 with both moments and a gradient.
  for (const TrainableParameter& p : trainable_layout(step.model).parameters)
    held += 4 * sizeof(float) * static_cast<double>(num_elements(p.shape));
  held /= static_cast<double>(split.mp);
  const bool copies = memory > 0 && held <= static_cast<double>(memory) / 2;
  const Mesh chosen = copies ? Mesh{split.fsdp, 1, split.mp} : split;
  const std::string left = memory > 0 ? fmt::format("{} than half of a device's {:.1f} GB", copies ? "less" : "more",
                                                    static_cast<double>(memory) / 1e9)
                                      : "an unknown share of a device's memory";
  return {chosen,
          fmt::format("mesh auto: {} (dp x fsdp x mp): weights and state, {:.1f} GB, take {}, so {}", to_string(chosen),
                      held / 1e9, left, copies ? "each device has a copy" : "they are split")};
}

ChosenMesh mesh_of(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client) {
  const DeviceTraits traits = device_traits(client);
  // Virtual devices of the processor share their memory: copies gain nothing.
  const int64_t memory = traits.is_host ? 0 : client.memory(client.device(0)).limit;
  return choose_mesh(recipe, step_options(recipe, spec, traits), static_cast<int64_t>(client.global_devices().size()),
                     memory);
}

StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client) {
  StepOptions options = step_options(recipe, spec, device_traits(client));
  const ChosenMesh chosen = mesh_of(recipe, spec, client);
  if (!chosen.note.empty()) spdlog::info("{}", chosen.note);
  options.model.placement = placement_of(recipe, chosen.mesh, spec);
  for (const std::string& note : placement_notes(options.model)) spdlog::info("{}", note);
  return options;
}

StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const DeviceTraits& device) {
  if (auto longest = spec.longest_text(); longest && recipe.data.max_length > *longest)
    fail("data.max_length is {}; the rope of {} is computed up to {} tokens: lower data.max_length",
         recipe.data.max_length, recipe.model.path, *longest);
  StepOptions options;
  options.task = task_of(recipe);
  options.model.spec = spec;
  const Recipe::Lora& lora = recipe.lora;
  options.model.lora = {lora.r,
                        lora.lora_alpha,
                        lora.lora_dropout,
                        lora.target_modules,
                        lora.use_rslora,
                        lora.use_dora,
                        lora.layers_to_transform.value_or(std::vector<int64_t>())};
  options.model.freeze_head = lora.freeze_head;
  options.model.num_labels = options.task->num_labels();
  options.model.learns_tie = options.task->learns_tie();
  options.model.prefixes = shares_prefixes(recipe, &spec);
  options.model.one_text = recipe.data.batching != Batching::kPacked;
  options.model.deterministic = recipe.train.deterministic;
  const BaseStorage storage = recipe.model.storage();
  options.model.dtype = storage.dtype;
  options.model.quantisation = storage.quantisation;
  options.model.as_file = storage.as_file;
  options.model.kernels = kernels_of(recipe, device);
  switch (recipe.model.compute_dtype) {
    case Recipe::ComputeType::kBFloat16:
      options.model.compute_dtype = DType::kBF16;
      break;
    case Recipe::ComputeType::kFloat16:
      options.model.compute_dtype = DType::kF16;
      break;
    case Recipe::ComputeType::kFloat32:
      options.model.compute_dtype = DType::kF32;
      break;
    case Recipe::ComputeType::kAuto:
      options.model.compute_dtype = device.fastest_compute_dtype(options.model.kernels);
      break;
  }
  // Compile time and memory of written-out layers grow with the model.
  const auto intermediate = spec.blocks.front().feed_forward.up_proj.out_features();
  auto layer_size = static_cast<double>(spec.hidden_size) * static_cast<double>(spec.hidden_size + intermediate);
  bool small = layer_size * static_cast<double>(spec.num_hidden_layers) < 1e9;
  switch (recipe.train.layers) {
    case Recipe::Layers::kScan:
      options.model.form = LayerForm::kScan;
      break;
    case Recipe::Layers::kUnrolled:
      options.model.form = LayerForm::kUnrolled;
      break;
    case Recipe::Layers::kAuto: {
      // Who wants layers computed again wants a scan.
      const bool recomputes =
          recipe.train.recompute == Recipe::Recompute::kAll || recipe.train.recompute == Recipe::Recompute::kAttention;
      options.model.form =
          device.unrolls_small_models && small && !recomputes ? LayerForm::kUnrolled : LayerForm::kScan;
      // NF4's matrices are made anew in each iteration of a loop; written out, a compiler may keep those of all layers.
      const bool looks_up = storage.quantisation && storage.quantisation->codes == Quantisation::Codes::kNf4;
      options.chooses_layers =
          device.unrolls_what_fits && recipe.train.recompute == Recipe::Recompute::kAuto && !looks_up;
      break;
    }
  }
  switch (recipe.train.recompute) {
    case Recipe::Recompute::kAuto:
      // This machine's memory is for others too, and a scan is what large models take here to save it.
      options.chooses_recompute = !device.is_host && options.model.form == LayerForm::kScan;
      break;
    case Recipe::Recompute::kAll:
      break;
    case Recipe::Recompute::kAttention:
      options.model.recompute = Recompute::kAttention;
      break;
    case Recipe::Recompute::kNone:
      options.model.recompute = Recompute::kNone;
      break;
  }
  options.adam = {recipe.train.adam_beta1, recipe.train.adam_beta2, recipe.train.adam_epsilon,
                  recipe.train.weight_decay};
  if (recipe.train.head_learning_rate)
    options.rates.head = *recipe.train.head_learning_rate / recipe.train.learning_rate;
  options.rates.lora_b = lora.lora_plus_ratio;
  options.rates.layer_decay = lora.layer_decay;
  options.rates.head_only_steps = recipe.train.head_only_steps;
  options.label_smoothing = recipe.train.label_smoothing;
  options.auxiliary_weight = recipe.train.auxiliary_weight;
  options.max_grad_norm = recipe.train.max_grad_norm.value_or(0);
  options.max_loss = recipe.train.max_loss.value_or(0);
  options.skip_nonfinite = recipe.train.skip_nonfinite;
  options.loss_scaling.initial = recipe.train.loss_scale;
  return options;
}

}  // namespace gavel
