#include "recipe/fields.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <type_traits>

#include "base/command_line.h"
#include "recipe/choices.h"
#include "recipe/codec.h"
#include "spec/family.h"

namespace gavel {

namespace detail {

namespace {

template <class T>
struct TypeName;
template <>
struct TypeName<bool> {
  static constexpr std::string_view value = "true or false";
};
template <>
struct TypeName<int64_t> {
  static constexpr std::string_view value = "integer";
};
template <>
struct TypeName<double> {
  static constexpr std::string_view value = "number";
};
template <>
struct TypeName<std::string> {
  static constexpr std::string_view value = "text";
};
template <>
struct TypeName<std::variant<double, std::string>> {
  static constexpr std::string_view value = "share or file";
};
template <>
struct TypeName<std::vector<std::string>> {
  static constexpr std::string_view value = "list of names";
};
template <>
struct TypeName<std::vector<int64_t>> {
  static constexpr std::string_view value = "list of numbers";
};
template <>
struct TypeName<DataFiles> {
  static constexpr std::string_view value = "file or list of files";
};
template <>
struct TypeName<std::array<double, 3>> {
  static constexpr std::string_view value = "list of 3 numbers";
};
template <class T>
struct TypeName<std::optional<T>> {
  static constexpr std::string_view value = TypeName<T>::value;
};

template <class T>
constexpr bool kNullable = false;
template <class T>
constexpr bool kNullable<std::optional<T>> = true;

struct Extra {
  Limits limits = {};
  std::vector<std::string> synonyms = {};
  bool required = false;
  bool free = false;
  bool path = false;  // "~/" at its beginning is the home folder
};

// Paths of a setting: nothing happens to what is none.
void expand(std::string& path) {
  path = expand_home(path);
}
void expand(std::optional<std::string>& path) {
  if (path) expand(*path);
}
void expand(std::variant<double, std::string>& share_or_path) {
  if (auto* path = std::get_if<std::string>(&share_or_path)) expand(*path);
}
void expand(DataFiles& files) {
  for (DataFile& file : files.files) expand(file.path);
}
void expand(std::optional<DataFiles>& files) {
  if (files) expand(*files);
}

/** `get` returns the setting's place in a Recipe, constant or not. */
template <class Get>
Field field(std::string key, Get get, std::string help, Extra extra = {}) {
  using T = std::remove_cvref_t<decltype(get(std::declval<Recipe&>()))>;
  Field out;
  out.info.key = std::move(key);
  out.info.help = std::move(help);
  out.info.required = extra.required;
  out.info.free = extra.free;
  out.synonyms = std::move(extra.synonyms);
  out.limits = extra.limits;
  out.nullable = kNullable<T>;
  out.path = extra.path;
  if constexpr (std::is_enum_v<T>) {
    const auto& table = choices_of(T{});
    out.info.type = "choice";
    for (const auto& [value, name] : table) out.info.choices.push_back(name);
    out.read = [get, &table, names = out.info.choices](Recipe& recipe, const RawValue& raw) {
      size_t index = 0;
      std::string problem = read_choice(raw, names, index);
      if (problem.empty()) get(recipe) = table[index].first;
      return problem;
    };
    out.write = [get](const Recipe& recipe) { return std::string(choice_name(get(recipe))); };
  } else {
    out.info.type = TypeName<T>::value;
    out.info.range = extra.limits.text();
    out.info.choices = extra.limits.names;
    out.read = [get, limits = std::move(extra.limits), path = extra.path](Recipe& recipe, const RawValue& raw) {
      (void)path;  // of paths alone
      std::string problem = read_value(raw, limits, get(recipe));
      if constexpr (requires { expand(get(recipe)); })
        if (path && problem.empty()) expand(get(recipe));
      return problem;
    };
    out.write = [get](const Recipe& recipe) { return write_value(get(recipe)); };
  }
  static const Recipe defaults;
  if (!out.info.required) out.info.default_value = out.write(defaults);
  return out;
}

Limits at_least(double min) {
  return {.min = min};
}
Limits between(double min, double max) {
  return {.min = min, .max = max};
}
Limits share_below(double min, double max) {
  return {.min = min, .max = max, .below_max = true};
}
Limits above(double min) {
  return {.min = min, .above_min = true};
}

// Bounds that no real run reaches, so that products of settings fit 64 bits.
constexpr double kManySteps = 1e12;
constexpr double kManyRows = 1 << 20;

void add_model(std::vector<Field>& fields) {
  fields.push_back(field("model.path", [](auto& r) -> auto& { return r.model.path; },
                         "the base model: a Hugging Face folder, a .gguf file, or org/name of the Hugging Face hub",
                         {.synonyms = {"name", "model_name_or_path", "base_model"}, .required = true, .path = true}));
  fields.push_back(field("model.tokenizer", [](auto& r) -> auto& { return r.model.tokenizer; },
                         "a tokenizer.json or its folder; null = the one beside or inside the model",
                         {.synonyms = {"tokenizer_path", "tokenizer_name"}, .path = true}));
  fields.push_back(
      field("model.dtype", [](auto& r) -> auto& { return r.model.dtype; },
            "how the frozen base weights are held; int8 and nf4 = the linears' weights in 8 or 4 bits, gguf = those as "
            "the GGUF file of the base has them, all else in bfloat16",
            {.synonyms = {"torch_dtype", "bf16", "load_in_8bit", "load_in_4bit", "quantization"}}));
  fields.push_back(
      field("model.group_size", [](auto& r) -> auto& { return r.model.group_size; },
            "of int8: how many neighbouring weights share a scale, 32, 64 or 128; 32 = the groups of GGUF's "
            "Q8_0, which are then taken as they are",
            {.limits = between(32, 128), .synonyms = {"blocksize"}}));
  fields.push_back(field(
      "model.compute_dtype", [](auto& r) -> auto& { return r.model.compute_dtype; },
      "what matrix products are computed in; auto = what is fastest on the device; float16 = with a loss scale that "
      "follows the gradients, for GPUs without bfloat16"));
  fields.push_back(
      field("model.num_labels", [](auto& r) -> auto& { return r.model.num_labels; },
            "outputs of the head: 3 = A wins, B wins, tie; 2 = A wins, B wins, and a tie counts half for each",
            {.limits = between(2, 3)}));
  fields.push_back(field(
      "model.head", [](auto& r) -> auto& { return r.model.head; },
      "what the head starts from: base = the base's own score.weight, fresh = random numbers, shares = zeros (equal "
      "probabilities), labels = the language model's rows for the answers to data.question; auto = the base's where it "
      "has one, else fresh"));
  fields.push_back(field(
      "model.random_init", [](auto& r) -> auto& { return r.model.random_init; },
      "shapes from config.json and random weights, for speed runs without a model"));
}

void add_lora(std::vector<Field>& fields) {
  fields.push_back(field("lora.r", [](auto& r) -> auto& { return r.lora.r; }, "rank of the adapters",
                         {.limits = between(1, 65536), .synonyms = {"rank", "lora_r"}}));
  fields.push_back(field("lora.lora_alpha", [](auto& r) -> auto& { return r.lora.lora_alpha; },
                         "adapters are scaled by lora_alpha / r", {.limits = above(0), .synonyms = {"alpha"}}));
  fields.push_back(field("lora.lora_dropout", [](auto& r) -> auto& { return r.lora.lora_dropout; },
                         "dropout on the adapters' input", {.limits = share_below(0, 1), .synonyms = {"dropout"}}));
  fields.push_back(field("lora.target_modules", [](auto& r) -> auto& { return r.lora.target_modules; },
                         "linear layers that get an adapter; all-linear = all seven",
                         {.limits = {.names = all_linear_names()}, .synonyms = {"targets", "modules"}}));
  fields.push_back(field("lora.use_rslora", [](auto& r) -> auto& { return r.lora.use_rslora; },
                         "scale by lora_alpha / sqrt(r) instead", {.synonyms = {"rslora"}}));
  fields.push_back(field("lora.use_dora", [](auto& r) -> auto& { return r.lora.use_dora; },
                         "train the length of each row of the adapted weights beside its direction",
                         {.synonyms = {"dora"}}));
  fields.push_back(field(
      "lora.freeze_head", [](auto& r) -> auto& { return r.lora.freeze_head; },
      "train the adapters alone: the head stays what it starts from"));
  fields.push_back(field("lora.init_adapter", [](auto& r) -> auto& { return r.lora.init_adapter; },
                         "an adapter folder to start from (Gavel's or PEFT's), whose rank, scaling and targets are "
                         "then taken; null = PEFT's fresh start",
                         {.synonyms = {"adapter"}, .path = true}));
  fields.push_back(field("lora.lora_plus_ratio", [](auto& r) -> auto& { return r.lora.lora_plus_ratio; },
                         "learning rate of lora_B over that of lora_A (LoRA+)",
                         {.limits = above(0), .synonyms = {"loraplus_lr_ratio", "lora_plus"}}));
  fields.push_back(field("lora.layer_decay", [](auto& r) -> auto& { return r.lora.layer_decay; },
                         "the learning rate of each layer's adapters over that of the layer above",
                         {.limits = {.min = 0, .max = 1, .above_min = true}, .synonyms = {"layerwise_lr_decay"}}));
  fields.push_back(field("lora.layers_to_transform", [](auto& r) -> auto& { return r.lora.layers_to_transform; },
                         "layers that get adapters, counted from 0: a list such as [8, 9] or [8-29]; null = all",
                         {.limits = between(0, 65535), .synonyms = {"layers", "lora_layers"}}));
}

void add_data(std::vector<Field>& fields) {
  fields.push_back(
      field("data.train", [](auto& r) -> auto& { return r.data.train; },
            "CSV, JSONL or Parquet file of judged pairs, a pattern, a folder, or a list of such; {path, weight, "
            "rows, format, cells} says how a file of a list is taken",
            {.synonyms = {"path", "file", "train_file", "train_path"}, .required = true, .path = true}));
  fields.push_back(field("data.valid", [](auto& r) -> auto& { return r.data.valid; },
                         "share of train kept for validation (no prompt on both sides), or a file or folder; 0 = none",
                         {.limits = share_below(0, 1),
                          .synonyms = {"validation", "valid_split", "val", "test", "validation_file"},
                          .path = true}));
  fields.push_back(field("data.folds", [](auto& r) -> auto& { return r.data.folds; },
                         "cut train into this many folds, one of which is for validation instead of "
                         "the share; null = no folds",
                         {.limits = between(2, kManyRows), .synonyms = {"n_folds", "num_folds", "k_folds"}}));
  fields.push_back(field("data.fold", [](auto& r) -> auto& { return r.data.fold; },
                         "with data.folds: the fold for validation, counted from 0",
                         {.limits = between(0, kManyRows)}));
  fields.push_back(field("data.exclude", [](auto& r) -> auto& { return r.data.exclude; },
                         "files or folders whose prompts are kept out of train; null = none", {.path = true}));
  fields.push_back(field(
      "data.exclude_valid_prompts", [](auto& r) -> auto& { return r.data.exclude_valid_prompts; },
      "keep the prompts of the file in data.valid out of train"));
  fields.push_back(field(
      "data.format", [](auto& r) -> auto& { return r.data.format; },
      "column names of lmsys or wsdm files; chosen = prompt, chosen, rejected; ranked = prompt, responses, scores or "
      "ranks (becomes all pairs of the answers); helpsteer3 = context, response1, response2, overall_preference; "
      "scored = prompt, response, score (for reward.loss: regression, bce); conversations = conversation_a, "
      "conversation_b, winner; generic = as data.columns says"));
  auto column = [&fields](const char* name, auto get, const char* help) {
    fields.push_back(field(std::string("data.columns.") + name, get, help));
  };
  column("id", [](auto& r) -> auto& { return r.data.columns.id; }, "row id; null = the row's number");
  column("prompt", [](auto& r) -> auto& { return r.data.columns.prompt; }, "column of the prompt");
  column("response_a", [](auto& r) -> auto& { return r.data.columns.response_a; }, "column of answer A");
  column("response_b", [](auto& r) -> auto& { return r.data.columns.response_b; }, "column of answer B");
  column("label_a", [](auto& r) -> auto& { return r.data.columns.label_a; }, "probability that A wins");
  column("label_b", [](auto& r) -> auto& { return r.data.columns.label_b; }, "probability that B wins");
  column("label_tie", [](auto& r) -> auto& { return r.data.columns.label_tie; }, "probability of a tie");
  column(
      "winner", [](auto& r) -> auto& { return r.data.columns.winner; },
      "the winner's name instead of three probabilities (model_a, model_b, tie; a, b)");
  column(
      "weight", [](auto& r) -> auto& { return r.data.columns.weight; },
      "how much a row counts in the training loss, in a file of any format; null = all the same");
  column(
      "margin", [](auto& r) -> auto& { return r.data.columns.margin; },
      "of a reward: by how much the better answer's reward is to be ahead in the training loss, in a file of any "
      "format "
      "of pairs; null = 0");
  column(
      "score", [](auto& r) -> auto& { return r.data.columns.score; },
      "number of an answer, in a file of format scored; null = score");
  column(
      "teacher_a", [](auto& r) -> auto& { return r.data.columns.teacher_a; },
      "what a teacher gives for A wins (any number of 0 or more, normalised), in a file of any format of pairs; empty "
      "cells = the vote alone; null = no teacher");
  column("teacher_b", [](auto& r) -> auto& { return r.data.columns.teacher_b; }, "the same for B wins");
  column(
      "teacher_tie", [](auto& r) -> auto& { return r.data.columns.teacher_tie; },
      "the same for a tie; null = the teacher knows none");
  column(
      "auxiliary", [](auto& r) -> auto& { return r.data.columns.auxiliary; },
      "two columns, of A and of B, that a second head learns to tell during training, such as [model_a, model_b]; [] = "
      "none");
  fields.push_back(field("data.teacher_weight", [](auto& r) -> auto& { return r.data.teacher_weight; },
                         "share of the teacher in a training row's target; the rest is the vote's",
                         {.limits = between(0, 1)}));
  auto spelling = [&fields](const char* name, auto get, const char* meaning) {
    fields.push_back(field(std::string("data.spellings.") + name, get,
                           fmt::format("what the column winner says when {}, beside the known spellings", meaning)));
  };
  spelling("a", [](auto& r) -> auto& { return r.data.spellings.a; }, "A wins");
  spelling("b", [](auto& r) -> auto& { return r.data.spellings.b; }, "B wins");
  spelling("tie", [](auto& r) -> auto& { return r.data.spellings.tie; }, "it is a tie");
  fields.push_back(field("data.fraction", [](auto& r) -> auto& { return r.data.fraction; },
                         "share of the rows to use, from the file's start",
                         {.limits = {.min = 0, .max = 1, .above_min = true}}));
  fields.push_back(field(
      "data.cells", [](auto& r) -> auto& { return r.data.cells; },
      "how text cells are read: json lists of turns; split = the reference notebook's way (escapes stay "
      "literal); text = one plain turn"));
  fields.push_back(
      field("data.template", [](auto& r) -> auto& { return r.data.text_template; },
            "origin (the reference notebook's text), turns, chat (turns as a user's message that the "
            "model's own chat template writes), llama3, chatml (the same in these formats), or a text with "
            "{prompt}, {response_a} and {response_b}",
            {.synonyms = {"prompt_template"}}));
  fields.push_back(field("data.max_length", [](auto& r) -> auto& { return r.data.max_length; }, "longest row in tokens",
                         {.limits = between(8, kManyRows), .synonyms = {"max_seq_length", "max_len"}}));
  fields.push_back(field(
      "data.question", [](auto& r) -> auto& { return r.data.question; },
      "a question at the end of the judged text, for model.head: labels; default = which answer is "
      "better, to be answered with A, B or tie; null = none"));
  fields.push_back(field("data.truncation", [](auto& r) -> auto& { return r.data.truncation; },
                         "what gives way in longer rows: the end, the start, or prompt, A and B in shares",
                         {.synonyms = {"truncation_side"}}));
  fields.push_back(field("data.proportional_shares", [](auto& r) -> auto& { return r.data.proportional_shares; },
                         "shares of prompt, A and B with truncation: proportional",
                         {.limits = {.min = 0, .max = 1, .below_max = true, .above_min = true}}));
  fields.push_back(field("data.batching", [](auto& r) -> auto& { return r.data.batching; },
                         "padded rows, rows of like length together, or several rows packed in a sequence",
                         {.synonyms = {"packing", "group_by_length"}}));
  fields.push_back(field("data.pad_to", [](auto& r) -> auto& { return r.data.pad_to; },
                         "with batching: padded: 0 = pad to max_length, else to the batch's longest row rounded "
                         "up to a multiple of this",
                         {.limits = between(0, kManyRows), .synonyms = {"pad_to_multiple_of", "padding"}}));
  fields.push_back(field(
      "data.balance", [](auto& r) -> auto& { return r.data.balance; },
      "with batching: packed: deal rows to steps of like numbers of tokens, for less padding; false = a step has the "
      "rows of a padded one"));
  fields.push_back(field(
      "data.share_prompts", [](auto& r) -> auto& { return r.data.share_prompts; },
      "of a row that is read as two texts, with batching: packed: compute the tokens that both begin with once"));
  fields.push_back(field(
      "data.swap", [](auto& r) -> auto& { return r.data.swap; },
      "exchange A and B: never, at random, or each row both ways in the same step"));
  fields.push_back(field(
      "data.curriculum", [](auto& r) -> auto& { return r.data.curriculum; },
      "order of the first epoch's rows: none = at random, length = from short to long"));
  fields.push_back(field(
      "data.drop_before_shuffle", [](auto& r) -> auto& { return r.data.drop_before_shuffle; },
      "rows that fill no whole batch: drop the file's last (as the reference notebook) or the epoch's last"));
  fields.push_back(field(
      "data.drop_duplicates", [](auto& r) -> auto& { return r.data.drop_duplicates; }, "drop later copies of a row"));
  fields.push_back(field("data.max_dropped", [](auto& r) -> auto& { return r.data.max_dropped; },
                         "largest share of a file's rows that may be dropped because they can't be learnt from",
                         {.limits = between(0, 1)}));
  fields.push_back(field("data.max_cell_bytes", [](auto& r) -> auto& { return r.data.max_cell_bytes; },
                         "most bytes of a text in a CSV file, or of a row in a JSON or Parquet file",
                         {.limits = between(1, 2147483647), .free = true}));
  fields.push_back(field(
      "data.strict", [](auto& r) -> auto& { return r.data.strict; },
      "an odd cell is an error instead of a counted repair"));
  fields.push_back(field("data.cache", [](auto& r) -> auto& { return r.data.cache; },
                         "keep the tokens in Gavel's cache folder, for the next start and to save memory",
                         {.free = true}));
}

void add_train(std::vector<Field>& fields) {
  fields.push_back(field("train.epochs", [](auto& r) -> auto& { return r.train.epochs; }, "passes over the data",
                         {.limits = between(1, 1e6), .synonyms = {"num_train_epochs", "num_epochs"}}));
  fields.push_back(field("train.max_steps", [](auto& r) -> auto& { return r.train.max_steps; },
                         "optimizer steps, instead of epochs; also the schedule's length",
                         {.limits = between(1, kManySteps), .synonyms = {"steps"}}));
  fields.push_back(field(
      "train.batch_size", [](auto& r) -> auto& { return r.train.batch_size; },
      "rows of a micro-batch, over all devices",
      {.limits = between(1, kManyRows), .synonyms = {"per_device_train_batch_size", "train_batch_size", "batch"}}));
  fields.push_back(field(
      "train.gradient_accumulation", [](auto& r) -> auto& { return r.train.gradient_accumulation; },
      "micro-batches of an optimizer step",
      {.limits = between(1, kManyRows), .synonyms = {"gradient_accumulation_steps", "accumulation", "grad_accum"}}));
  fields.push_back(field("train.learning_rate", [](auto& r) -> auto& { return r.train.learning_rate; },
                         "peak learning rate", {.limits = at_least(0), .synonyms = {"lr"}}));
  fields.push_back(field("train.head_learning_rate", [](auto& r) -> auto& { return r.train.head_learning_rate; },
                         "peak learning rate of the head; null = train.learning_rate",
                         {.limits = at_least(0), .synonyms = {"head_lr"}}));
  fields.push_back(field("train.head_only_steps", [](auto& r) -> auto& { return r.train.head_only_steps; },
                         "first steps that train the head alone, while the adapters stay as they start",
                         {.limits = between(0, kManySteps)}));
  fields.push_back(field("train.weight_decay", [](auto& r) -> auto& { return r.train.weight_decay; },
                         "AdamW's decoupled weight decay", {.limits = at_least(0), .synonyms = {"wd"}}));
  fields.push_back(field("train.adam_beta1", [](auto& r) -> auto& { return r.train.adam_beta1; },
                         "decay of AdamW's first moment",
                         {.limits = share_below(0, 1), .synonyms = {"beta1", "betas"}}));
  fields.push_back(field("train.adam_beta2", [](auto& r) -> auto& { return r.train.adam_beta2; },
                         "decay of AdamW's second moment", {.limits = share_below(0, 1), .synonyms = {"beta2"}}));
  fields.push_back(field("train.adam_epsilon", [](auto& r) -> auto& { return r.train.adam_epsilon; }, "AdamW's epsilon",
                         {.limits = above(0), .synonyms = {"eps", "epsilon", "adam_eps"}}));
  fields.push_back(field("train.warmup_steps", [](auto& r) -> auto& { return r.train.warmup_steps; },
                         "steps of linear warm-up from 0, cut to the run's steps where they are fewer",
                         {.limits = between(0, kManySteps), .synonyms = {"warmup", "warm_up", "warmup_ratio"}}));
  fields.push_back(field("train.schedule", [](auto& r) -> auto& { return r.train.schedule; },
                         "course of the learning rate after warm-up",
                         {.synonyms = {"lr_scheduler_type", "scheduler", "lr_scheduler"}}));
  fields.push_back(field("train.max_grad_norm", [](auto& r) -> auto& { return r.train.max_grad_norm; },
                         "clip gradients to this global norm; null = do not",
                         {.limits = above(0), .synonyms = {"clip", "grad_clip", "gradient_clipping"}}));
  fields.push_back(field("train.label_smoothing", [](auto& r) -> auto& { return r.train.label_smoothing; },
                         "share of each label spread evenly over the classes",
                         {.limits = share_below(0, 1), .synonyms = {"label_smoothing_factor"}}));
  fields.push_back(field("train.auxiliary_weight", [](auto& r) -> auto& { return r.train.auxiliary_weight; },
                         "with data.columns.auxiliary: times the second head's loss is added to the training loss",
                         {.limits = above(0)}));
  fields.push_back(field("train.seed", [](auto& r) -> auto& { return r.train.seed; },
                         "of weights, order, dropout and split",
                         {.limits = between(0, 9007199254740991.0), .synonyms = {"random_seed"}}));
  fields.push_back(field(
      "train.layers", [](auto& r) -> auto& { return r.train.layers; },
      "one layer's program run over stacked weights, or each layer written out; auto = what "
      "suits model and device; on NVIDIA's GPUs written out where a micro-batch of the same optimizer step fits the "
      "memory"));
  fields.push_back(field("train.recompute", [](auto& r) -> auto& { return r.train.recompute; },
                         "with layers in a scan, what its gradient computes again of each: all; attention = all but "
                         "attention; none = no linear; auto = on accelerators the least that fits the memory",
                         {.synonyms = {"gradient_checkpointing", "activation_checkpointing", "remat"}}));
  fields.push_back(field(
      "train.kernels", [](auto& r) -> auto& { return r.train.kernels; },
      "auto = the device's own kernels where there are any; plain = StableHLO alone"));
  fields.push_back(field(
      "train.deterministic", [](auto& r) -> auto& { return r.train.deterministic; },
      "the same bits at each run on NVIDIA's GPUs too (other devices give them anyway); slower: attention's gradient "
      "takes 2 to 5 times its workspace at 1,024 tokens and more beyond, and XLA writes no products of its own"));
  fields.push_back(field("train.max_loss", [](auto& r) -> auto& { return r.train.max_loss; },
                         "a step whose loss is above this counts as not finite; null = no limit",
                         {.limits = above(0), .free = true}));
  fields.push_back(field("train.skip_nonfinite", [](auto& r) -> auto& { return r.train.skip_nonfinite; },
                         "leave out a step whose loss or gradient is not finite, instead of stopping there",
                         {.synonyms = {"skip_nan", "skip_bad_steps"}, .free = true}));
  fields.push_back(
      field("train.loss_scale", [](auto& r) -> auto& { return r.train.loss_scale; },
            "with model.compute_dtype: float16: what the loss is multiplied by for its gradients at first; "
            "halved when they leave float16's range, doubled after 2000 steps without",
            {.limits = {.min = 0, .max = 1e30, .above_min = true}, .synonyms = {"init_scale"}}));
  fields.push_back(field("train.log_every", [](auto& r) -> auto& { return r.train.log_every; },
                         "steps between log lines",
                         {.limits = between(1, kManySteps), .synonyms = {"logging_steps"}, .free = true}));
  fields.push_back(field("train.eval_every", [](auto& r) -> auto& { return r.train.eval_every; },
                         "steps between evaluations; 0 = at the end only",
                         {.limits = between(0, kManySteps), .synonyms = {"eval_steps"}}));
  fields.push_back(field("train.eval_at_start", [](auto& r) -> auto& { return r.train.eval_at_start; },
                         "evaluate before the first step too", {.synonyms = {"eval_on_start"}, .free = true}));
  fields.push_back(field("train.early_stopping_patience",
                         [](auto& r) -> auto& { return r.train.early_stopping_patience; },
                         "stop after so many evaluations in a row without a better log loss; 0 = never",
                         {.limits = between(0, kManySteps), .synonyms = {"patience", "early_stopping"}}));
  fields.push_back(field("train.early_stopping_threshold",
                         [](auto& r) -> auto& { return r.train.early_stopping_threshold; },
                         "how much lower a log loss must be to count as better for early stopping",
                         {.limits = at_least(0), .synonyms = {"min_delta"}}));
  fields.push_back(field("train.load_best_at_end", [](auto& r) -> auto& { return r.train.load_best_at_end; },
                         "end with the weights of the best evaluation instead of the last step's",
                         {.synonyms = {"load_best_model_at_end"}, .free = true}));
  fields.push_back(field("train.save_every", [](auto& r) -> auto& { return r.train.save_every; },
                         "steps between checkpoints; 0 = at the end of each epoch and at better evaluations only",
                         {.limits = between(0, kManySteps), .synonyms = {"save_steps"}, .free = true}));
  fields.push_back(field("train.keep_last", [](auto& r) -> auto& { return r.train.keep_last; },
                         "checkpoints to keep, beside the best one",
                         {.limits = between(1, kManyRows), .synonyms = {"save_total_limit"}, .free = true}));
  fields.push_back(field("train.resume", [](auto& r) -> auto& { return r.train.resume; },
                         "auto = go on from the output folder's last whole checkpoint, if there is one",
                         {.synonyms = {"resume_from_checkpoint"}, .free = true}));
  fields.push_back(field("train.tensorboard", [](auto& r) -> auto& { return r.train.tensorboard; },
                         "write an event file for TensorBoard too", {.synonyms = {"report_to"}, .free = true}));
  fields.push_back(field("train.profile.start", [](auto& r) -> auto& { return r.train.profile.start; },
                         "with train.profile.steps: the first step that is recorded, counted from 1",
                         {.limits = between(1, kManySteps), .free = true}));
  fields.push_back(field("train.profile.steps", [](auto& r) -> auto& { return r.train.profile.steps; },
                         "steps that are recorded for TensorBoard's profile plugin, what runs when: a few; 0 = none",
                         {.limits = between(0, kManyRows), .synonyms = {"profiler"}, .free = true}));
}

void add_place(std::vector<Field>& fields) {
  Limits axis = {.min = -1, .max = kManyRows};
  fields.push_back(field(
      "mesh.dp", [](auto& r) -> auto& { return r.mesh.dp; },
      "devices that hold copies of the weights; -1 = all that the others leave, with fsdp: -1 too (or `mesh: auto`) if "
      "the weights fit a device, else fsdp gets them",
      {.limits = axis}));
  fields.push_back(field("mesh.fsdp", [](auto& r) -> auto& { return r.mesh.fsdp; },
                         "devices over which weights and batch are split; -1 = all that the others leave",
                         {.limits = axis}));
  fields.push_back(field("mesh.mp", [](auto& r) -> auto& { return r.mesh.mp; },
                         "devices over which each layer's matrices are split; -1 = all that the others leave",
                         {.limits = axis, .synonyms = {"tp"}}));
  fields.push_back(field("mesh.rules", [](auto& r) -> auto& { return r.mesh.rules; },
                         "file with partition rules by parameter name; null = the built-in ones", {.path = true}));
  fields.push_back(field(
      "judge.form", [](auto& r) -> auto& { return r.judge.form; },
      "with task: judge, how a pair is read: joint = both answers in one text; siamese = each answer with the prompt "
      "by "
      "itself, and what the head says of both is added up, so that the order of A and B can't matter"));
  fields.push_back(field(
      "reward.ties", [](auto& r) -> auto& { return r.reward.ties; },
      "with task: reward, how ties are read: davidson = an outcome whose logit is learnt; none = half for "
      "each answer (Bradley-Terry)"));
  fields.push_back(
      field("reward.center_coefficient", [](auto& r) -> auto& { return r.reward.center_coefficient; },
            "times the square of the sum of a pair's rewards is added to its loss, which keeps rewards near 0; 0 = not",
            {.limits = at_least(0), .synonyms = {"center_rewards_coefficient"}}));
  fields.push_back(
      field("reward.score_margin", [](auto& r) -> auto& { return r.reward.score_margin; },
            "above 0: the margin of a pair (see data.columns.margin) is this times the difference of its "
            "answers' scores, which files of the formats chosen (score_chosen, score_rejected), ranked and "
            "helpsteer3 have",
            {.limits = at_least(0)}));
  fields.push_back(field(
      "reward.loss", [](auto& r) -> auto& { return r.reward.loss; },
      "pairs = which of two answers is better; regression = the squared error of a single answer's score, bce = the "
      "binary "
      "cross-entropy of its score from 0 to 1, both from data.format: scored"));
  fields.push_back(field(
      "task", [](auto& r) -> auto& { return r.task; },
      "what is trained: judge = which of two answers is better, from a text with both; reward = a number "
      "for one answer, from pairs of answers"));
  fields.push_back(field("device", [](auto& r) -> auto& { return r.device; },
                         "cpu, cuda, tpu, or the path of a PJRT plugin", {.synonyms = {"platform"}, .path = true}));
  fields.push_back(field("output", [](auto& r) -> auto& { return r.output; },
                         "folder of the run; refused when it holds another run, unless train.resume says so",
                         {.synonyms = {"output_dir", "out"}, .free = true, .path = true}));
}

}  // namespace

const std::vector<Field>& recipe_fields() {
  static const std::vector<Field> fields = [] {
    std::vector<Field> out;
    add_model(out);
    add_lora(out);
    add_data(out);
    add_train(out);
    add_place(out);
    return out;
  }();
  return fields;
}

const Field* find_field(std::string_view key) {
  for (const Field& field : recipe_fields())
    if (field.info.key == key) return &field;
  return nullptr;
}

bool is_section(std::string_view name) {
  for (const Field& field : recipe_fields())
    if (field.info.key.size() > name.size() && field.info.key.starts_with(name) && field.info.key[name.size()] == '.')
      return true;
  return false;
}

std::string section_of(std::string_view key) {
  size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? "" : std::string(key.substr(0, dot));
}

std::string leaf_of(std::string_view key) {
  size_t dot = key.rfind('.');
  return std::string(dot == std::string_view::npos ? key : key.substr(dot + 1));
}

std::string key_hint(const std::string& unknown_key) {
  // Edit distance takes time in the product of the lengths.
  if (unknown_key.size() > 200) return "";
  std::string section = section_of(unknown_key), leaf = leaf_of(unknown_key);
  auto meant = [](const std::string& key) { return fmt::format(" (did you mean '{}'?)", key); };

  // The same name in another section, or another tool's name; its own section first.
  for (bool own_section : {true, false})
    for (const Field& field : recipe_fields()) {
      if (own_section != (section_of(field.info.key) == section)) continue;
      bool synonym = std::find(field.synonyms.begin(), field.synonyms.end(), leaf) != field.synonyms.end();
      if (leaf_of(field.info.key) == leaf || synonym) return meant(field.info.key);
    }

  std::vector<std::string> siblings, keys, sections;
  for (const Field& field : recipe_fields()) {
    keys.push_back(field.info.key);
    if (section_of(field.info.key) == section) siblings.push_back(leaf_of(field.info.key));
    std::string parent = section_of(field.info.key);
    if (!parent.empty() && std::find(sections.begin(), sections.end(), parent) == sections.end())
      sections.push_back(parent);
  }
  if (std::string found = nearest(leaf, siblings); !found.empty())
    return meant(section.empty() ? found : section + "." + found);
  keys.insert(keys.end(), sections.begin(), sections.end());
  if (std::string found = nearest(unknown_key, keys); !found.empty()) return meant(found);
  if (section.empty()) {
    siblings = sections;
    siblings.insert(siblings.end(), {"task", "device", "output"});
  }
  return fmt::format("; there are: {}", fmt::join(siblings, ", "));
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
    unsigned char lead = byte(i);
    size_t length = lead < 0x80                   ? 1
                    : lead >= 0xc2 && lead < 0xe0 ? 2
                    : lead >= 0xe0 && lead < 0xf0 ? 3
                    : lead >= 0xf0 && lead < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    if (lead == 0xe0 && byte(i + 1) < 0xa0) return false;  // overlong
    if (lead == 0xed && byte(i + 1) > 0x9f) return false;  // surrogates
    if (lead == 0xf0 && byte(i + 1) < 0x90) return false;  // overlong
    if (lead == 0xf4 && byte(i + 1) > 0x8f) return false;  // above U+10FFFF
    i += length;
  }
  return true;
}

}  // namespace detail
}  // namespace gavel
