#include "train/run_identity.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_number.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "setup/data_files.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

bool matters(const fs::path& file) {
  std::string name = file.filename().string();
  return name == "config.json" || name == "tokenizer.json" || name == "tokenizer_config.json" ||
         name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

void add_source(std::vector<SourceFile>& files, const std::string& key, const fs::path& path) {
  if (fs::is_regular_file(path)) {
    files.push_back({key, path.string(), digest_file(path)});
    return;
  }
  if (!fs::is_directory(path)) return;  // the name of a built-in shape
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && matters(entry.path())) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  for (const fs::path& file : found)
    files.push_back({key + "/" + file.filename().string(), file.string(), digest_file(file)});
}

std::string describe(const FileDigest& digest) {
  return fmt::format("{} bytes, crc64 {}", digest.bytes, to_hex(digest.crc64));
}

std::map<std::string, FileDigest> by_key(const RunIdentity& identity) {
  std::map<std::string, FileDigest> files;
  for (const SourceFile& file : identity.files) files[file.key] = file.digest;
  return files;
}

/** Whether files stand behind this setting. */
bool has_files(const std::map<std::string, FileDigest>& files, const std::string& key) {
  auto found = files.lower_bound(key);
  return found != files.end() && (found->first == key || found->first.starts_with(key + "/"));
}

/** Calls differs(name, before, now) for each name whose value is not the same; what is missing is "". */
template <class Differs>
void compare_pairs(const Pairs& before, const Pairs& now, Differs differs) {
  std::map<std::string, std::string> old(before.begin(), before.end());
  for (const auto& [name, value] : now) {
    std::string was = old.contains(name) ? old[name] : "";
    if (was != value) differs(name, was, value);
    old.erase(name);
  }
  for (const auto& [name, value] : old) differs(name, value, std::string());
}

std::string shown(const std::string& value) {
  return value.empty() ? "(not there)" : value;
}

}  // namespace

RunIdentity identify(const Recipe& recipe) {
  RunIdentity identity;
  identity.recipe = recipe_values(recipe);
  for (const auto& [key, path] : data_paths(recipe)) add_source(identity.files, key, path);
  // The setting itself has the files' names, which do not matter.
  if (std::string settings = train_file_settings(recipe); !settings.empty())
    identity.recipe.emplace_back("data.train, file by file", settings);
  // A built-in shape has no file.
  if (is_hub_model(recipe.model.path))
    add_source(identity.files, "model.path",
               resolve_model_path(recipe.model.path, recipe.model.random_init ? kConfigAndTokenizer : kModelFiles));
  else if (!recipe.model.random_init || fs::exists(recipe.model.path))
    add_source(identity.files, "model.path", resolve_model_path(recipe.model.path));
  if (recipe.model.tokenizer) add_source(identity.files, "model.tokenizer", *recipe.model.tokenizer);
  if (recipe.mesh.rules) add_source(identity.files, "mesh.rules", *recipe.mesh.rules);
  return identity;
}

std::vector<std::string> changes(const RunIdentity& before, const RunIdentity& now) {
  std::vector<std::string> lines;
  auto old_files = by_key(before), new_files = by_key(now);
  std::map<std::string, RecipeKey> keys;
  for (RecipeKey& key : recipe_keys()) keys[key.key] = std::move(key);
  compare_pairs(before.recipe, now.recipe, [&](const std::string& key, const std::string& was, const std::string& is) {
    bool by_content = has_files(old_files, key) && has_files(new_files, key);
    // Checkpoints of an older version lack the newer settings.
    bool newer = was.empty() && is == keys[key].default_value;
    if (!keys[key].free && !by_content && !newer)
      lines.push_back(fmt::format("{}: {} → {}", key, shown(was), shown(is)));
  });
  std::map<std::string, std::string> paths;
  for (const SourceFile& file : now.files) paths[file.key] = file.path;
  for (const auto& [key, digest] : new_files) {
    auto old = old_files.find(key);
    if (old == old_files.end())
      lines.push_back(fmt::format("{}: {} was not there", key, paths[key]));
    else if (old->second != digest)
      lines.push_back(
          fmt::format("{}: {} has other content: {} → {}", key, paths[key], describe(old->second), describe(digest)));
    if (old != old_files.end()) old_files.erase(old);
  }
  for (const auto& [key, digest] : old_files)
    lines.push_back(fmt::format("{}: is not there any more ({})", key, describe(digest)));
  return lines;
}

std::vector<std::string> environment_changes(const RunIdentity& before, const RunIdentity& now) {
  std::vector<std::string> lines;
  compare_pairs(before.environment, now.environment,
                [&](const std::string& name, const std::string& was, const std::string& is) {
                  lines.push_back(fmt::format("{}: {} → {}", name, shown(was), shown(is)));
                });
  return lines;
}

nlohmann::ordered_json to_json(const RunIdentity& identity) {
  nlohmann::ordered_json json, recipe = nlohmann::ordered_json::object(), files = nlohmann::ordered_json::array(),
                               environment = recipe;
  for (const auto& [key, value] : identity.recipe) recipe[key] = value;
  for (const SourceFile& file : identity.files)
    files.push_back(
        {{"key", file.key}, {"path", file.path}, {"bytes", file.digest.bytes}, {"crc64", to_hex(file.digest.crc64)}});
  for (const auto& [key, value] : identity.environment) environment[key] = value;
  json["recipe"] = recipe;
  json["files"] = files;
  json["environment"] = environment;
  return json;
}

RunIdentity run_identity_from_json(const nlohmann::ordered_json& json, const std::string& place) {
  RunIdentity identity;
  const auto crc64 = [&](const nlohmann::ordered_json& file) {
    const auto text = file.at("crc64").get<std::string>();
    if (const std::optional<uint64_t> value = from_hex(text)) return *value;
    fail("{}: crc64 of {}: expected 16 hexadecimal digits, found '{}'", place, file.at("path").get<std::string>(),
         text.substr(0, 40));
  };
  const auto bytes = [&](const nlohmann::ordered_json& file) {
    const std::optional<int64_t> value = whole_number(file.at("bytes"));
    if (value && *value >= 0) return static_cast<uint64_t>(*value);
    fail("{}: bytes of {}: expected a number of them, found {}", place, file.at("path").get<std::string>(),
         file.at("bytes").dump());
  };
  for (const auto& [key, value] : json.at("recipe").items())
    identity.recipe.emplace_back(key, value.get<std::string>());
  for (const auto& file : json.at("files"))
    identity.files.push_back(
        {file.at("key").get<std::string>(), file.at("path").get<std::string>(), {bytes(file), crc64(file)}});
  for (const auto& [key, value] : json.at("environment").items())
    identity.environment.emplace_back(key, value.get<std::string>());
  return identity;
}

}  // namespace gavel
