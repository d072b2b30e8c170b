#include "hub/listing.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_text.h"
#include "base/terminal.h"

namespace gavel {

namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kMostFiles = 100000;
constexpr int64_t kLargestFile = int64_t{4} << 40, kLargestSmallFile = int64_t{256} << 20;
constexpr std::initializer_list<const char*> kTokenizerFiles = {"tokenizer.json",
                                                                "tokenizer_config.json",
                                                                "special_tokens_map.json",
                                                                "added_tokens.json",
                                                                "chat_template.jinja",
                                                                "tokenizer.model",
                                                                "vocab.json",
                                                                "merges.txt"};

bool is_hash(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/** The text behind the key, or "". */
std::string text_at(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t size_at(const nlohmann::json& object) {
  const auto found = object.find("size");
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

/** Names of the repository's files that end so, as many as fit into a message. */
std::string names_that_end(const HubListing& listing, std::string_view end) {
  constexpr size_t kMost = 40;
  std::vector<std::string> names;
  size_t more = 0;
  for (const HubFile& file : listing.files)
    if (file.name.ends_with(end)) names.size() < kMost ? names.push_back(file.name) : void(++more);
  return fmt::format("{}{}", fmt::join(names, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

/** What is there in place of weights that are read. */
[[noreturn]] void refuse_without_weights(const HubListing& listing, const HubName& name) {
  if (const std::string files = names_that_end(listing, ".gguf"); !files.empty()) {
    HubName one = name;
    for (const HubFile& file : listing.files)
      if (one.file.empty() && file.name.ends_with(".gguf")) one.file = file.name;
    fail("{}: the repository holds no {} but GGUF files: name one of them, like {}; there are {}", name.text(), kSingle,
         one.text(), files);
  }
  for (const char* end : {".safetensors", ".bin", ".pth", ".pt", ".msgpack", ".h5", ".onnx"})
    if (const std::string files = names_that_end(listing, end); !files.empty())
      fail("{}: the repository holds neither {} nor {}, which are what Gavel reads; there is {}", name.text(), kSingle,
           kIndex, files);
  fail("{}: the repository holds neither {} nor {}: it is no model that Gavel reads", name.text(), kSingle, kIndex);
}

/** A file that is there and can be checked. */
const HubFile& required(const HubListing& listing, const HubName& name, const std::string& file) {
  const HubFile* found = listing.find(file);
  if (found == nullptr) fail("{}: the repository has no {} at {}", name.text(), file, listing.commit);
  if (found->hash.empty())
    fail("{}: the hub does not say the size and hash of {}, without which it can't be checked", name.text(), file);
  return *found;
}

}  // namespace

const HubFile* HubListing::find(std::string_view name) const {
  const auto found = std::ranges::find(files, name, &HubFile::name);
  return found == files.end() ? nullptr : &*found;
}

HubListing parse_listing(const std::string& text, const std::string& place) {
  within_json_depth(text, place);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  HubListing listing{text_at(json, "sha"), {}};
  const auto files = json.is_object() ? json.find("siblings") : json.end();
  if (!json.is_object() || !is_commit(listing.commit) || files == json.end() || !files->is_array() ||
      files->size() > kMostFiles)
    fail("{}: expected the hub's account of a model, JSON with the keys 'sha' and 'siblings'; is this address a hub's?",
         place);
  for (const auto& sibling : *files) {
    HubFile file;
    file.name = text_at(sibling, "rfilename");
    if (!is_plain_file_name(file.name)) continue;
    file.size = size_at(sibling);
    file.hash = text_at(sibling, "blobId");
    if (const auto lfs = sibling.find("lfs"); lfs != sibling.end() && lfs->is_object()) {
      file.lfs = true;
      file.hash = text_at(*lfs, "sha256");
      file.size = size_at(*lfs);
    }
    // What can't be checked is not fetched; those of names that nobody wants may lack both.
    if (!is_hash(file.hash, file.lfs ? 64 : 40) || file.size < 0 || file.size > kLargestFile) file.hash.clear();
    listing.files.push_back(std::move(file));
  }
  return listing;
}

std::vector<HubFile> wanted_files(const HubListing& listing, const HubName& name, const HubNeed& need,
                                  const std::function<std::string(const HubFile& index)>& read_index) {
  std::vector<HubFile> wanted;
  if (!name.file.empty()) {
    if (listing.find(name.file) == nullptr) {
      const std::string there = names_that_end(listing, ".gguf");
      fail("{}: the repository has no file {}; {}", name.text(), name.file,
           there.empty() ? "it has no GGUF files" : "there are " + there);
    }
    for (const std::string& part : gguf_parts(name.file)) wanted.push_back(required(listing, name, part));
  } else {
    const HubFile *single = listing.find(kSingle), *index = listing.find(kIndex);
    if (need.weights && single == nullptr && index == nullptr) refuse_without_weights(listing, name);
    if (need.tokenizer && listing.find("tokenizer.json") == nullptr)
      fail(
          "{}: the repository has no tokenizer.json, and no other kind is read; name a tokenizer of the same model "
          "with "
          "model.tokenizer",
          name.text());
    if (need.config || listing.find("config.json") != nullptr) wanted.push_back(required(listing, name, "config.json"));
    for (const char* file : kTokenizerFiles)
      if (listing.find(file) != nullptr) wanted.push_back(required(listing, name, file));
    if (need.weights && single == nullptr) wanted.push_back(required(listing, name, kIndex));
    for (const HubFile& file : wanted)
      if (file.size > kLargestSmallFile)
        fail("{}: {} has {} bytes, more than such a file has", name.text(), file.name, file.size);
    if (need.weights && single != nullptr) wanted.push_back(required(listing, name, kSingle));
    if (need.weights && single == nullptr)
      for (const std::string& shard : shards_of_index(read_index(*index), name.text() + "/" + kIndex))
        wanted.push_back(required(listing, name, shard));
  }
  return wanted;
}

void refuse_answer(const HubResponse& response, const HubSettings& settings, const HubName& name,
                   const std::string& what) {
  const std::string page = settings.endpoint + "/" + name.repository();
  const std::string how_to_give_a_token =
      fmt::format("set HF_TOKEN, or write a token to {}", settings.token_file.string());
  const std::string& code = response.header("x-error-code");
  if (!response.broken.empty())
    fail(
        "{}: it is no file or folder here, and {} can't be fetched from {}: {} (HF_ENDPOINT and https_proxy say where "
        "and how it is asked)",
        name.text(), what, settings.endpoint, printable(response.broken, 400));
  if (!response.elsewhere.empty())
    fail("{}: {} leads for {} to {}, which answered with status {}", name.text(), settings.endpoint, what,
         printable(response.elsewhere, 200), response.status);
  if (code == "GatedRepo")
    fail("{}: the model is gated: accept its terms at {}, and {} of the account that did{}", name.text(), page,
         how_to_give_a_token,
         response.with_token ? fmt::format(" (the token of {} was sent)", settings.token_source) : "");
  if (code == "RevisionNotFound")
    fail("{}: the repository has no revision {}: {}/tree/main shows those that it has", name.text(), name.revision,
         page);
  if (code == "EntryNotFound") fail("{}: the repository has no file {}", name.text(), what);
  if (response.status == 401 || response.status == 403) {
    if (response.with_token)
      fail("{}: {} refuses the token of {} (status {}): it is no longer valid, or may not read this repository",
           name.text(), settings.endpoint, settings.token_source, response.status);
    fail(
        "{}: it is no file or folder here, and {} has no such repository for everybody (status {}): is the name right? "
        "If it is private, {} that may read it",
        name.text(), settings.endpoint, response.status, how_to_give_a_token);
  }
  if (response.status == 404)
    fail("{}: it is no file or folder here, and not found at {}: is the name right?{}", name.text(), page,
         response.with_token ? "" : fmt::format(" (If it is private, {})", how_to_give_a_token));
  if (response.status == 429)
    fail("{}: {} says that it was asked too often (status 429): try again later, or with a token ({})", name.text(),
         settings.endpoint, how_to_give_a_token);
  const std::string& message = response.header("x-error-message");
  fail("{}: {} answered for {} with status {}{}", name.text(), settings.endpoint, what, response.status,
       message.empty() ? "" : ": " + printable(message, 400));
}

}  // namespace gavel
