#include "judge/average_folders.h"

#include "base/error.h"
#include "base/file.h"
#include "judge/load_adapter.h"
#include "setup/outputs.h"

namespace gavel {

namespace fs = std::filesystem;

int64_t average_folders(const std::vector<fs::path>& adapters, const std::optional<std::string>& model,
                        const fs::path& out, AverageMethod method, bool overwrite) {
  std::vector<LoadedAdapterWeights> all;
  std::optional<LoadedAdapter> first;
  for (const fs::path& folder : adapters) {
    LoadedAdapter loaded = load_adapter({folder, model, {}, false});
    if (first && loaded.recipe.model.path != first->recipe.model.path)
      fail(
          "{}: its base model is {}, that of {} is {}; adapters of different models have no mean (--model "
          "when they are the same)",
          folder.string(), loaded.recipe.model.path, adapters.front().string(), first->recipe.model.path);
    if (first) require_read_alike("average", folder, loaded.recipe, adapters.front(), first->recipe);
    all.push_back(loaded.weights);
    if (!first) first = std::move(loaded);
  }
  const LoadedAdapterWeights mean = average_adapters(first->files.spec(), all, method);
  make_folder(out);
  if (overwrite) remove_model_files(out);
  Recipe recipe = first->recipe;
  recipe.lora.r = mean.config.lora.r;
  recipe.lora.lora_alpha = mean.config.lora.lora_alpha;
  recipe.lora.use_rslora = mean.config.lora.use_rslora;
  recipe.lora.target_modules = mean.config.lora.target_modules;
  recipe.model.tokenizer.reset();
  recipe.output = out.string();
  save_adapter(out, first->files.spec(), mean.config, mean.values);
  first->tokenizer.save(out);
  write_file(out / "recipe.yaml", to_yaml(recipe));
  return mean.config.lora.r;
}

}  // namespace gavel
