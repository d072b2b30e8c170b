// Any text as the hub's account of a repository, as an index of shards, and as a model's name: an Error, or names of files that stay
// in their folder and hashes that are names of files, and a name that is read from its own text again.
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "fuzz_target.h"
#include "hub/listing.h"

namespace {

void require_inner(const std::string& name) {
  const std::filesystem::path path(name);
  if (name.empty() || path.is_absolute() || path.lexically_normal() != path ||
      std::find(path.begin(), path.end(), "..") != path.end())
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const gavel::HubListing listing = gavel::parse_listing(text, "the hub");
    if (!gavel::is_commit(listing.commit)) std::abort();
    for (const gavel::HubFile& file : listing.files) {
      require_inner(file.name);
      if (!file.hash.empty() && (file.size < 0 || file.hash.size() != (file.lfs ? 64 : 40))) std::abort();
      if (file.hash.find_first_not_of("0123456789abcdef") != file.hash.npos) std::abort();
    }
    const auto files = gavel::wanted_files(listing, {.owner = "a", .name = "b"}, {}, [&](const auto&) { return text; });
    for (const gavel::HubFile& file : files)
      if (file.hash.empty()) std::abort();
  } catch (const gavel::Error&) {
  }
  try {
    for (const std::string& shard : gavel::shards_of_index(text, "the index")) require_inner(shard);
  } catch (const gavel::Error&) {
  }
  try {
    if (const auto name = gavel::parse_hub_name(text)) {
      require_inner(name->revision);
      const auto again = gavel::parse_hub_name(name->text());
      if (!again || again->repository() != name->repository() || again->revision != name->revision ||
          again->file != name->file)
        std::abort();
    }
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string blob(40, 'a'), lfs(64, 'b');
  return {R"({"sha":")" + blob + R"(","siblings":[{"rfilename":"config.json","size":7,"blobId":")" + blob +
              R"("},{"rfilename":"tokenizer.json","size":7,"blobId":")" + blob +
              R"("},{"rfilename":"model.safetensors","size":7,"blobId":")" + blob + R"(","lfs":{"sha256":")" + lfs +
              R"(","size":7}}]})",
          R"({"sha":")" + blob +
              R"(","siblings":[{"rfilename":"../x.gguf","size":-1,"blobId":"x"},{"rfilename":"q/x.gguf"}]})",
          R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"../model.safetensors"}})", "org/name@refs/pr/1",
          "hf://org/name@feature%2Fx/q/file-00001-of-00002.gguf"};
}
