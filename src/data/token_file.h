#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/dataset.h"
#include "data/split.h"
#include "rows/cleaning.h"

namespace gavel {

/** A tokenized file, or several as one, with what splitting and prediction need of its rows. */
struct LoadedDataset {
  TokenizedDataset dataset;
  std::vector<RowKey> keys;
  std::vector<std::string> ids;
  /** Rounds of each row's conversation. */
  std::vector<int32_t> turns;
  /** Of each file. */
  std::vector<CleaningReport> reports;
  /** Kept rows of each file. */
  std::vector<int64_t> file_rows;
  bool has_labels = false;
  /** Read from the token cache instead of tokenized. */
  bool from_cache = false;
};

/** A hash of everything that a token file was made from (see token_key()): a file with another key is stale. */
struct TokenKey {
  uint64_t high = 0, low = 0;
  bool operator==(const TokenKey&) const = default;
  std::string hex() const;
};

/** Writes a token file: the tokens as they come, then the rows' data, then a footer with a checksum of all before it.
 * The file appears under its name only when it is whole. Throws Error when it can't be written. */
class TokenFileWriter {
 public:
  TokenFileWriter(const std::filesystem::path& path, TokenKey key);
  void add(std::span<const int32_t> tokens);
  /** Writes the rows' data and the footer. `parts` has no tokens (DatasetBuilder::take_parts); of `rest` all but its
   * dataset is written. */
  void commit(const DatasetParts& parts, const LoadedDataset& rest);

 private:
  void write(const void* data, size_t size);
  void flush();

  AtomicFile file_;
  TokenKey key_;
  std::vector<char> buffer_;
  uint64_t checksum_ = 0;
  uint64_t bytes_ = 0;
};

/** Maps a token file. Returns nothing when there is none, or when it has another key, or is torn or damaged; `why` then
 * says which. With `check` the checksum is compared too, which reads the whole file. */
std::optional<LoadedDataset> open_token_file(const std::filesystem::path& path, TokenKey key, bool check,
                                             std::string* why = nullptr);

}  // namespace gavel
