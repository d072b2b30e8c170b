#include "hub/cache.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);  // through links: a blob that is gone is not there
}

/** The commit that the cache has for a branch or tag; "" where it has none. */
std::string cached_commit(const fs::path& repository, const std::string& revision) {
  if (is_commit(revision)) return revision;
  const fs::path ref = repository / "refs" / revision;
  if (!is_there(ref)) return "";
  std::string commit = read_text(ref);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  return is_commit(commit) ? commit : "";
}

void add_missing_weights(const fs::path& folder, std::vector<std::string>& missing) {
  if (is_there(folder / "model.safetensors")) return;
  const fs::path index = folder / "model.safetensors.index.json";
  if (!is_there(index)) {
    missing.emplace_back("model.safetensors");
    return;
  }
  for (const std::string& shard : shards_of_index(read_text(index), index.string()))
    if (!is_there(folder / shard)) missing.push_back(shard);
}

}  // namespace

fs::path repository_folder(const HubSettings& settings, const HubName& name) {
  return settings.cache / fmt::format("models--{}--{}", name.owner, name.name);
}

std::optional<CachedSnapshot> find_snapshot(const HubSettings& settings, const HubName& name, const HubNeed& need) {
  const fs::path repository = repository_folder(settings, name);
  const std::string commit = cached_commit(repository, name.revision);
  const fs::path folder = repository / "snapshots" / commit;
  std::error_code ignored;
  if (commit.empty() || !fs::is_directory(folder, ignored)) return std::nullopt;
  CachedSnapshot found{name.file.empty() ? folder : folder / name.file, {}};
  if (!name.file.empty()) {
    for (const std::string& part : gguf_parts(name.file))
      if (!is_there(folder / part)) found.missing.push_back(part);
    return found;
  }
  if (need.config && !is_there(folder / "config.json")) found.missing.emplace_back("config.json");
  if (need.weights) add_missing_weights(folder, found.missing);
  if (need.tokenizer && !is_there(folder / "tokenizer.json")) found.missing.emplace_back("tokenizer.json");
  return found;
}

std::vector<std::string> shards_of_index(const std::string& text, const std::string& place) {
  refuse_lfs_pointer(text, place);
  within_json_depth(text, place);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail("{}: expected a JSON object with the key 'weight_map', an object", place);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get<std::string>()))
      fail("{}: the shard of '{}' must be the name of a file within the folder", place, tensor);
    shards.insert(shard.get<std::string>());
  }
  return {shards.begin(), shards.end()};
}

}  // namespace gavel
