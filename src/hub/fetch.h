#pragma once
#include <filesystem>

#include "hub/cache.h"
#include "hub/name.h"
#include "hub/settings.h"

namespace gavel {

/** Brings a model of the Hugging Face hub into the cache that huggingface_hub has too, in its layout, and gives its folder or
 * file. What the cache has is taken as it is, without asking the network, unless `refresh`: then the hub says what the revision is
 * now. Each file is checked against the size and hash that the hub tells before it gets its name. Other processes may do the same
 * at the same time. Throws Error that says what is missing and what to do, at once when `settings.offline`. */
std::filesystem::path fetch_from_hub(const HubName& name, const HubNeed& need, const HubSettings& settings,
                                     bool refresh = false);

}  // namespace gavel
