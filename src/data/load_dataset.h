#pragma once
#include <filesystem>
#include <optional>
#include <span>

#include "data/token_file.h"
#include "rows/preferences.h"

namespace gavel {

/** Called while a file is read, with the number of bytes done; what it throws ends the reading. */
using BytesDone = std::function<void(int64_t)>;

/** A file and how it is read. */
struct DataSource {
  std::filesystem::path path;
  ReadOptions read;
};

/** Reads, cleans and tokenizes files block by block, as one: rows that repeat another file's are found too. Memory holds
 * about 200 bytes a row and the tokens; with a cache the tokens go to disk and are mapped.
 *
 * With `cache_folder` and an encoder that has a fingerprint, the result is kept there under a key of the
 * files' content, the tokenizer and all settings, and mapped the next time; a stale, torn or damaged file is
 * made anew; files used longest ago go when the folder holds more than 20 GiB. When the cache can't be
 * written the tokens stay in memory. Throws as read_preferences() does; with several processes (TokenizeOptions::share)
 * also when they have different files or one can't write its cache. */
LoadedDataset load_dataset(std::span<const DataSource> sources, const TokenizeOptions& tokenize,
                           const TextEncoder& encoder,
                           const std::optional<std::filesystem::path>& cache_folder = std::nullopt,
                           const BytesDone& done = {});

/** Where load_dataset() keeps tokens by default: tokens/ in Gavel's cache folder. */
std::filesystem::path token_cache_folder();

/** The key of the files' tokens; reads them whole. */
TokenKey token_key(std::span<const DataSource> sources, const TokenizeOptions& tokenize, const TextEncoder& encoder);

}  // namespace gavel
