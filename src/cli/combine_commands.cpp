// merge and average: other adapters and models out of trained ones.
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "judge/average_folders.h"
#include "judge/load_adapter.h"
#include "report/table.h"
#include "setup/outputs.h"

namespace gavel {

namespace {

namespace fs = std::filesystem;

constexpr const char* kOverwrite = "Write over a model or an adapter that is there";

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
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, kOverwrite);
  command->callback([=] {
    require_free_folder("--out", *out, *overwrite, std::vector<fs::path>{*adapter});
    JudgeOptions options{*adapter, std::nullopt, {}, true};
    if (!model->empty()) options.model = *model;
    LoadedAdapter loaded = load_adapter(options);
    require_free_folder("--out", *out, *overwrite, std::vector<fs::path>{loaded.files.path()});
    if (*overwrite) remove_model_files(*out);
    // Without a recipe nothing says that the base was ever held in less than its file has.
    const BaseStorage held = loaded.has_own_recipe ? loaded.recipe.model.storage() : BaseStorage{DType::kF32, {}};
    if (held.is_narrow())
      spdlog::info("the base is taken as the adapter was trained on it: {}, dequantised", held.describe());
    merge_adapter(loaded.files, held, loaded.weights, *out, *dtype == "float32" ? DType::kF32 : DType::kBF16);
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
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, kOverwrite);
  command->callback([=] {
    const std::vector<fs::path> folders(adapters->begin(), adapters->end());
    require_free_folder("--out", *out, *overwrite, folders);
    const int64_t rank = average_folders(folders, model->empty() ? std::nullopt : std::optional(*model), *out,
                                         parse_average_method(*method), *overwrite);
    spdlog::info("wrote {}: the mean of {} adapters, rank {}", *out, adapters->size(), format_count(rank));
  });
}

}  // namespace gavel
