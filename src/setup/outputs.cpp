#include "setup/outputs.h"

#include <string>
#include <vector>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** Of a model or an adapter, as transformers, PEFT and Gavel name them. */
bool is_model_file(const fs::path& path) {
  const std::string name = path.filename().string();
  for (std::string_view known : {"config.json", "adapter_config.json", "generation_config.json", "calibration.json",
                                 "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "recipe.yaml"})
    if (name == known) return true;
  return path.extension() == ".safetensors" || name.ends_with(".safetensors.index.json");
}

}  // namespace

void require_free_file(std::string_view option, const fs::path& path, bool overwrite,
                       std::span<const fs::path> sources) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) fail("{}: {} is a folder, expected a file's name", option, path.string());
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored))
    fail("{}: {} is a device, a pipe or a socket, which a file does not replace; choose another name", option,
         path.string());
  for (const fs::path& source : sources)
    if (fs::equivalent(path, source, ignored) ||
        (is_model_file(path) && fs::equivalent(path.parent_path(), source, ignored)))
      fail("{}: {} is what is to be read; choose another name", option, path.string());
  if (const fs::path folder = path.parent_path(); !folder.empty() && !fs::is_directory(folder, ignored))
    fail("{}: {}: there is no folder {}; make it first", option, path.string(), folder.string());
  if (!overwrite && fs::exists(path, ignored))
    fail("{}: {} is there already; choose another name, or give --overwrite", option, path.string());
}

void require_free_folder(std::string_view option, const fs::path& folder, bool overwrite,
                         std::span<const fs::path> sources) {
  std::error_code ignored;
  for (const fs::path& source : sources)
    if (fs::equivalent(folder, fs::is_regular_file(source, ignored) ? source.parent_path() : source, ignored))
      fail("{}: {} is what is to be read; choose another folder", option, folder.string());
  for (const char* name : {"metrics.jsonl", "checkpoints", "study.json"})
    if (fs::exists(folder / name, ignored))
      fail("{}: {} holds {}, a run; choose another folder or remove it", option, folder.string(), name);
  if (overwrite) return;
  for (const char* name : {"model.safetensors", "adapter_model.safetensors", "config.json"})
    if (fs::exists(folder / name, ignored))
      fail("{}: {} holds {} already; choose another folder, remove it, or give --overwrite", option, folder.string(),
           name);
}

void remove_model_files(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> there;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (is_model_file(entry.path())) there.push_back(entry.path());
  for (const fs::path& file : there)
    if (!fs::remove(file, error) && error) fail("{}: can't be removed: {}", file.string(), error.message());
}

}  // namespace gavel
