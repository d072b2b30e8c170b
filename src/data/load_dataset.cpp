#include "data/load_dataset.h"

#include <fmt/ranges.h>

#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "rows/row_stream.h"

namespace gavel {

namespace {

constexpr const char* kSuffix = ".tokens";
constexpr int64_t kBlocksPerRelease = 8;  // each block frees some 50 MB; fresh pages cost more than idle ones
constexpr uint64_t kCacheBytes = uint64_t{20} << 30;

/** Reads the file once; tokens go to `builder`. */
void stream_rows(const std::filesystem::path& path, const ReadOptions& read, DatasetBuilder& builder,
                 LoadedDataset& out, const BytesDone& done) {
  RowStream stream(path, read);
  std::vector<PreferenceRow> block;
  int64_t blocks = 0;
  while (stream.next_block(block)) {
    builder.add(block);
    for (auto& row : block) {
      out.keys.push_back(row_key(row));
      out.turns.push_back(static_cast<int32_t>(Template::num_rounds(row)));
      out.ids.push_back(std::move(row.id));
    }
    if (done) done(stream.bytes_read());
    if (++blocks % kBlocksPerRelease == 0) release_freed_memory();
  }
  release_freed_memory();
  out.report = stream.report();
  out.has_labels = stream.has_labels();
}

LoadedDataset empty_dataset() {
  return {TokenizedDataset(DatasetParts()), {}, {}, {}, {}, false, false};
}

/** The disk is full, say: no reason to end the run. */
class CacheError : public Error {
  using Error::Error;
};

template <class Action>
void as_cache_error(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    throw CacheError(error.what());
  }
}

std::unique_ptr<TokenFileWriter> try_open(const std::filesystem::path& path, TokenKey key) {
  try {
    make_folder(path.parent_path());
    return std::make_unique<TokenFileWriter>(path, key);
  } catch (const Error& error) {
    spdlog::warn("{}; the tokens stay in memory", error.what());
    return nullptr;
  }
}

/** Whether all processes of a run have what this one `has`, for the same file: they must all read it from the cache, or
 * all tokenize their share. */
bool all_have(bool has, const TokenKey& key, const std::filesystem::path& path, const TokenizeShare& share) {
  if (share.count == 1) return has;
  const std::string name = key.hex();
  for (const std::string& text : share.exchange(name + (has ? "+" : "-"))) {
    if (text.substr(0, text.size() - 1) != name)
      fail("{}: the file, the tokenizer or the program differ between the processes of this run: give all the same",
           path.string());
    if (text.back() != '+') has = false;
  }
  return has;
}

}  // namespace

std::filesystem::path token_cache_folder() {
  return cache_folder() / "tokens";
}

TokenKey token_key(const std::filesystem::path& path, const ReadOptions& read, const TokenizeOptions& tokenize,
                   const TextEncoder& encoder) {
  const Columns& c = read.columns;
  // A change of what rows become needs a new number in front.
  std::string settings = fmt::format(
      "7|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
      static_cast<int>(read.format), static_cast<int>(read.cells), static_cast<int>(read.purpose),
      static_cast<int>(read.ties), read.strict, read.drop_duplicates, c.id, c.prompt, c.response_a, c.response_b,
      c.label_a, c.label_b, c.label_tie, c.winner, c.weight, c.margin, c.score, read.score_margin, read.unit_scores,
      tokenize.text.fingerprint(), static_cast<int>(tokenize.truncation), tokenize.max_length,
      fmt::join(tokenize.proportional_shares, ","), tokenize.with_swapped, encoder.pad_id,
      fmt::join(encoder.prefix, ","), fmt::join(encoder.suffix, ","), encoder.fingerprint, tokenize.task);
  auto file = MappedFile::open(path);
  // The name's end can decide how the file is read.
  settings += path.extension().string();
  TokenKey key{hash_text(settings, 1), hash_text(settings, 2)};
  constexpr size_t kPiece = size_t{16} << 20;
  std::string_view text = file->text();
  for (size_t at = 0; at < text.size(); at += kPiece) {
    std::string_view piece = text.substr(at, kPiece);
    key.high = hash_text(piece, key.high);
    key.low = hash_text(piece, key.low);
    file->release(at, piece.size());
  }
  return key;
}

LoadedDataset load_dataset(const std::filesystem::path& path, const ReadOptions& read, const TokenizeOptions& tokenize,
                           const TextEncoder& encoder, const std::optional<std::filesystem::path>& cache,
                           const BytesDone& done) {
  LoadedDataset out = empty_dataset();
  std::unique_ptr<TokenFileWriter> writer;
  std::filesystem::path cached;
  TokenKey key;
  if (cache && !encoder.fingerprint.empty()) {
    key = token_key(path, read, tokenize, encoder);
    cached = *cache / (key.hex() + kSuffix);
    auto found = open_token_file(cached, key, true);
    if (all_have(found.has_value(), key, path, tokenize.share)) {
      mark_used(cached);
      return std::move(*found);
    }
    writer = try_open(cached, key);
  }
  if (writer == nullptr) {
    DatasetBuilder builder(tokenize, encoder);
    stream_rows(path, read, builder, out, done);
    out.dataset = builder.finish();
    return out;
  }
  try {
    DatasetBuilder builder(tokenize, encoder,
                           [&](std::span<const int32_t> tokens) { as_cache_error([&] { writer->add(tokens); }); });
    stream_rows(path, read, builder, out, done);
    as_cache_error([&] { writer->commit(builder.take_parts(), out); });
  } catch (const CacheError& error) {
    // Beginning anew is nothing that the other processes would wait for.
    if (tokenize.share.count > 1)
      fail("{}; the run ends, since its processes read together: make room, or set data.cache=false", error.what());
    spdlog::warn("{}; the tokens stay in memory", error.what());
    writer.reset();
    return load_dataset(path, read, tokenize, encoder, std::nullopt, done);
  }
  trim_folder(*cache, kSuffix, kCacheBytes);
  std::string why;
  auto written = open_token_file(cached, key, false, &why);
  if (!written) fail("{}: the token cache was written and can't be read back: {}", cached.string(), why);
  written->from_cache = false;
  return std::move(*written);
}

}  // namespace gavel
