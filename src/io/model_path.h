#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hub/cache.h"

namespace gavel {

/** Names that stand for models that Python packages carry: "smollm2-135m-instruct", which every set-up fetches, and
 * "gemma-3-270m", which comes when it is asked for. */
std::vector<std::string> packaged_models();

/** Of a model that ModelFiles opens. */
inline constexpr HubNeed kModelFiles{.tokenizer = false};
inline constexpr HubNeed kTokenizerFiles{.config = false, .weights = false};
inline constexpr HubNeed kConfigAndTokenizer{.weights = false};
inline constexpr HubNeed kWholeModel{};

/** Whether this is no path here but a name of the Hugging Face hub, "org/name[@revision]" or "hf://…". */
bool is_hub_model(const std::filesystem::path& path);

/** A hub's name as PEFT writes it to an adapter: "org/name", and the revision where it is not main. A path stays as it is. */
std::pair<std::string, std::optional<std::string>> hub_name_and_revision(const std::string& path);

/** Whether this is one of packaged_models() or a hub's name, and its files have been fetched. */
bool is_fetched_model(const std::filesystem::path& path, const HubNeed& need = kModelFiles);

/** The file or folder that a recipe's model.path means: itself where it is there, else the file of a packaged model, or the hub's
 * model in the cache of downloads. Never asks the network. Throws Error that says how to fetch a model that is not there. */
std::filesystem::path resolve_model_path(const std::filesystem::path& path, const HubNeed& need = kModelFiles);

/** Downloads a hub's model that is not in the cache; nothing else is done for other paths. For names that the user gave, since an
 * adapter's or another file's word is none to ask the network by. `refresh`: asks the hub what the revision is now. */
void fetch_model(const std::filesystem::path& path, const HubNeed& need = kWholeModel, bool refresh = false);

}  // namespace gavel
