#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/name.h"
#include "hub/settings.h"

namespace gavel {

/** What of a Hugging Face folder is wanted; of a .gguf file it is always the file. */
struct HubNeed {
  bool config = true;
  /** model.safetensors, or its index and all shards. */
  bool weights = true;
  bool tokenizer = true;
};

/** A version of a repository in huggingface_hub's cache. */
struct CachedSnapshot {
  /** The folder, or the .gguf file in it. */
  std::filesystem::path path;
  /** Files that are needed and are not there. */
  std::vector<std::string> missing;
};

/** models--ORG--NAME, which holds refs/, blobs/ and snapshots/. */
std::filesystem::path repository_folder(const HubSettings& settings, const HubName& name);

/** What is in the cache, as the last to ask the hub left it; nothing where this revision is not known there. Asks no
 * network. */
std::optional<CachedSnapshot> find_snapshot(const HubSettings& settings, const HubName& name, const HubNeed& need);

/** Where the shards of an index (its text) are, in the order of their names. Throws Error naming `place` for what is no index, or
 * names files outside of its folder. */
std::vector<std::string> shards_of_index(const std::string& text, const std::string& place);

}  // namespace gavel
