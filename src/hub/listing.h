#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/cache.h"
#include "hub/transfer.h"

namespace gavel {

struct HubFile {
  std::string name;
  int64_t size = 0;
  /** What content_hash() must give; the file's name among the cache's blobs. */
  std::string hash;
  /** Whether `hash` is the SHA-256 of a file in Git LFS. */
  bool lfs = false;
};

/** A version of a repository, as the hub describes it. */
struct HubListing {
  std::string commit;
  std::vector<HubFile> files;

  const HubFile* find(std::string_view name) const;
};

/** Of the answer of api/models/ORG/NAME/revision/REVISION?blobs=true. Files whose names would leave a folder are left out. Throws
 * Error naming `place` when it is no such answer. */
HubListing parse_listing(const std::string& text, const std::string& place);

/** The files that are to be fetched, the small ones first; of shards those that `index` names, the text of
 * model.safetensors.index.json, which is asked for where it is needed. Throws Error that says what the repository holds in place of
 * what is needed. */
std::vector<HubFile> wanted_files(const HubListing& listing, const HubName& name, const HubNeed& need,
                                  const std::function<std::string(const HubFile& index)>& read_index);

/** Throws Error that says what an answer other than 200 means, and what to do. `what`: "the repository" or a file. */
[[noreturn]] void refuse_answer(const HubResponse& response, const HubSettings& settings, const HubName& name,
                                const std::string& what);

}  // namespace gavel
