// merge and average: other adapters and models out of trained ones.
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "judge/load_adapter.h"
#include "report/table.h"

namespace gavel {

namespace {

namespace fs = std::filesystem;

/** An output folder that holds a model or adapter already is not written over. */
void refuse_full(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "adapter_model.safetensors", "metrics.jsonl", "config.json"})
    if (fs::exists(folder / name))
      fail("--out: {} holds {} already; choose another folder or remove it", folder.string(), name);
}

/** Throws Error unless the two read rows in the same way: the mean of their weights would be that of judges of other texts. */
void check_read_alike(const std::string& folder, const Recipe& recipe, const std::string& first_folder, const Recipe& first) {
  const auto values = recipe_values(recipe), others = recipe_values(first);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto& [key, value] = values[i];
    const std::string& other = others.at(i).second;
    for (std::string_view reading : {"task", "reward.ties", "data.template", "data.max_length", "data.truncation",
                                     "data.proportional_shares", "model.dtype", "model.num_labels"})
      if (key == reading && value != other)
        fail("average: {} of {} is {}, of {} it is {}; a mean needs judges that read their texts in the same way", key,
             folder, value, first_folder, other);
  }
}

}  // namespace

void add_merge_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("merge", "Write base model, adapter and head as one model that transformers opens");
  auto adapter = std::make_shared<std::string>(), model = std::make_shared<std::string>(),
       out = std::make_shared<std::string>(), dtype = std::make_shared<std::string>("float32");
  command->add_option("--adapter", *adapter, "Folder of a trained judge (Gavel's or PEFT's)")->required();
  command->add_option("--model", *model, "Base model, when it is not where the adapter says");
  command->add_option("--out", *out, "Folder to write: config.json, model.safetensors, tokenizer files")->required();
  command
      ->add_option("--dtype", *dtype,
                   "float32 gives the judge's own logits; bfloat16 is half the size and rounds the sums")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  command->callback([=] {
    refuse_full(*out);
    JudgeOptions options{*adapter, std::nullopt, {}, true};
    if (!model->empty()) options.model = *model;
    LoadedAdapter loaded = load_adapter(options);
    // Without a recipe nothing says that the base was ever held in less than its file has.
    const DType held = loaded.has_own_recipe ? loaded.recipe.model.dtype : DType::kF32;
    merge_adapter(loaded.files, held, loaded.weights, *out,
                  *dtype == "float32" ? DType::kF32 : DType::kBF16);
    loaded.tokenizer.save(*out);
    if (const Calibration* calibration = loaded.calibration.for_swap(0))
      spdlog::warn("calibration.json ({}) is no part of a merged model: what it does to probabilities is left to do",
                   calibration->describe());
    spdlog::info("wrote {}: transformers opens it with AutoModelForSequenceClassification.from_pretrained", *out);
  });
}

void add_average_command(CLI::App& app) {
  auto* command = app.add_subcommand("average", "Make one adapter of several, as of the folds of a cross-validation");
  auto adapters = std::make_shared<std::vector<std::string>>();
  auto model = std::make_shared<std::string>(), out = std::make_shared<std::string>(),
       method = std::make_shared<std::string>("exact");
  command
      ->add_option("adapters", *adapters, "Folders of trained judges of one base model, with the same target modules")
      ->required()
      ->expected(2, 1000);
  command->add_option("--model", *model, "Base model, when it is not where the first adapter says");
  command->add_option("--out", *out, "Folder to write")->required();
  command
      ->add_option("--method", *method,
                   "exact: the mean of the weight updates, with the sum of the ranks as rank; factors: the "
                   "means of A and of B, "
                   "which keep the rank but whose product is not that mean")
      ->check(CLI::IsMember({"exact", "factors"}));
  command->callback([=] {
    refuse_full(*out);
    std::vector<LoadedAdapterWeights> all;
    std::optional<LoadedAdapter> first;
    for (const std::string& folder : *adapters) {
      JudgeOptions options{folder, std::nullopt, {}, false};
      if (!model->empty()) options.model = *model;
      LoadedAdapter loaded = load_adapter(options);
      if (first && loaded.recipe.model.path != first->recipe.model.path)
        fail(
            "{}: its base model is {}, that of {} is {}; adapters of different models have no mean (--model "
            "when they are the same)",
            folder, loaded.recipe.model.path, adapters->front(), first->recipe.model.path);
      if (first) check_read_alike(folder, loaded.recipe, adapters->front(), first->recipe);
      all.push_back(loaded.weights);
      if (!first) first = std::move(loaded);
    }
    LoadedAdapterWeights mean = average_adapters(first->files.spec(), all, parse_average_method(*method));
    make_folder(*out);
    Recipe recipe = first->recipe;
    recipe.lora.r = mean.config.lora.r;
    recipe.lora.lora_alpha = mean.config.lora.lora_alpha;
    recipe.lora.use_rslora = mean.config.lora.use_rslora;
    recipe.lora.target_modules = mean.config.lora.target_modules;
    recipe.model.tokenizer.reset();
    recipe.output = *out;
    save_adapter(*out, first->files.spec(), mean.config, mean.values);
    first->tokenizer.save(*out);
    write_file(fs::path(*out) / "recipe.yaml", to_yaml(recipe));
    spdlog::info("wrote {}: the mean of {} adapters, rank {}", *out, adapters->size(),
                 format_count(mean.config.lora.r));
  });
}

}  // namespace gavel
