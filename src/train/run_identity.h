#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "recipe/recipe.h"

namespace gavel {

/** A file that a run's result depends on. `key` is the setting that leads to it ("data.train"), or for one of
 * several files of a folder the setting and its name ("model.path/config.json"). */
struct SourceFile {
  std::string key;
  std::string path;
  FileDigest digest;
};

/** What determines a run's result. A run is resumed only with the same settings and files, unless the user allows other
 * ones. */
struct RunIdentity {
  /** Every setting and its value as YAML. */
  std::vector<std::pair<std::string, std::string>> recipe;
  std::vector<SourceFile> files;
  /** What may change the last bits of numbers, so that a difference gives a warning: version of the program, platform,
   * device, threads. */
  std::vector<std::pair<std::string, std::string>> environment;
};

/** Settings and files of a recipe; reads the files whole. `environment` is left empty. */
RunIdentity identify(const Recipe& recipe);

/** A line for each setting or file that differs and changes what a run computes: "train.seed: 1 → 2". Paths
 * whose content is the same do not count, nor do settings such as `output` and `train.log_every`
 * (RecipeKey::free). */
std::vector<std::string> changes(const RunIdentity& before, const RunIdentity& now);

/** A line for each entry of the environment that differs. */
std::vector<std::string> environment_changes(const RunIdentity& before, const RunIdentity& now);

nlohmann::ordered_json to_json(const RunIdentity& identity);
/** Throws nlohmann::json::exception when something is missing or of another type, Error naming `place` (the file) where
 * a checksum or a size is none. */
RunIdentity run_identity_from_json(const nlohmann::ordered_json& json, const std::string& place);

}  // namespace gavel
