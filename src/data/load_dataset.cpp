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

/** Reads the files once; tokens go to `builder`. */
void stream_rows(std::span<const DataSource> sources, DatasetBuilder& builder, LoadedDataset& out,
                 const BytesDone& done) {
  auto repeats = std::make_shared<RepeatFinder>();
  int64_t blocks = 0, rows_before = 0, bytes_before = 0;
  out.has_labels = true;
  for (const DataSource& source : sources) {
    RowStream stream(source.path, source.read, repeats);
    if (sources.size() > 1) builder.begin_file(rows_before);
    std::vector<PreferenceRow> block;
    while (stream.next_block(block)) {
      builder.add(block);
      for (auto& row : block) {
        out.keys.push_back(row_key(row));
        out.turns.push_back(static_cast<int32_t>(Template::num_rounds(row)));
        out.ids.push_back(std::move(row.id));
      }
      if (done) done(bytes_before + stream.bytes_read());
      if (++blocks % kBlocksPerRelease == 0) release_freed_memory();
    }
    out.reports.push_back(stream.report());
    out.file_rows.push_back(stream.report().rows_kept);
    out.has_labels = out.has_labels && stream.has_labels();
    rows_before += stream.report().rows_read;
    bytes_before += stream.bytes();
  }
  release_freed_memory();
}

LoadedDataset empty_dataset() {
  return {TokenizedDataset(DatasetParts()), {}, {}, {}, {}, {}, false, false};
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

std::string names_of(std::span<const DataSource> sources) {
  std::vector<std::string> names;
  for (const DataSource& source : sources) names.push_back(source.path.string());
  return fmt::format("{}", fmt::join(names, ", "));
}

/** Whether all processes of a run have what this one `has`, for the same files: they must all read it from the cache, or
 * all tokenize their share. */
bool all_have(bool has, const TokenKey& key, std::span<const DataSource> sources, const TokenizeShare& share) {
  if (share.count == 1) return has;
  const std::string name = key.hex();
  for (const std::string& text : share.exchange(name + (has ? "+" : "-"))) {
    if (text.substr(0, text.size() - 1) != name)
      fail("{}: the file, the tokenizer or the program differ between the processes of this run: give all the same",
           names_of(sources));
    if (text.back() != '+') has = false;
  }
  return has;
}

/** All that a file's rows depend on beside its content. */
std::string read_settings(const DataSource& source) {
  const ReadOptions& read = source.read;
  const Columns& c = read.columns;
  const Spellings& s = read.spellings;
  // The name's end can decide how the file is read.
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                     static_cast<int>(read.format), static_cast<int>(read.cells), static_cast<int>(read.purpose),
                     static_cast<int>(read.ties), read.strict, read.drop_duplicates, read.max_dropped, c.id, c.prompt,
                     c.response_a, c.response_b, c.label_a, c.label_b, c.label_tie, c.winner, c.weight, c.margin,
                     c.score, c.teacher_a, c.teacher_b, c.teacher_tie, c.auxiliary_a, c.auxiliary_b, read.score_margin,
                     read.unit_scores, fmt::join(s.a, "\n"), fmt::join(s.b, "\n"), fmt::join(s.tie, "\n"),
                     source.path.stem().extension().string() + source.path.extension().string());
}

}  // namespace

std::filesystem::path token_cache_folder() {
  return cache_folder("tokens");
}

TokenKey token_key(std::span<const DataSource> sources, const TokenizeOptions& tokenize, const TextEncoder& encoder) {
  // A change of what rows become needs a new number in front.
  std::string settings = fmt::format(
      "10|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", tokenize.text.fingerprint(), static_cast<int>(tokenize.truncation),
      tokenize.max_length, fmt::join(tokenize.proportional_shares, ","), tokenize.with_swapped, encoder.pad_id,
      fmt::join(encoder.prefix, ","), fmt::join(encoder.suffix, ","), encoder.fingerprint, tokenize.task);
  TokenKey key{hash_text(settings, 1), hash_text(settings, 2)};
  auto add = [&key](std::string_view text) { key = {hash_text(text, key.high), hash_text(text, key.low)}; };
  constexpr size_t kPiece = size_t{16} << 20;
  for (const DataSource& source : sources) {
    add(read_settings(source));
    auto file = MappedFile::open(source.path);
    std::string_view text = file->text();
    for (size_t at = 0; at < text.size(); at += kPiece) {
      std::string_view piece = text.substr(at, kPiece);
      add(piece);
      file->release(at, piece.size());
    }
  }
  return key;
}

LoadedDataset load_dataset(std::span<const DataSource> sources, const TokenizeOptions& tokenize,
                           const TextEncoder& encoder, const std::optional<std::filesystem::path>& cache,
                           const BytesDone& done) {
  LoadedDataset out = empty_dataset();
  std::unique_ptr<TokenFileWriter> writer;
  std::filesystem::path cached;
  TokenKey key;
  if (cache && !encoder.fingerprint.empty()) {
    key = token_key(sources, tokenize, encoder);
    cached = *cache / (key.hex() + kSuffix);
    auto found = open_token_file(cached, key, true);
    if (all_have(found.has_value(), key, sources, tokenize.share)) {
      mark_used(cached);
      return std::move(*found);
    }
    writer = try_open(cached, key);
  }
  if (writer == nullptr) {
    DatasetBuilder builder(tokenize, encoder);
    stream_rows(sources, builder, out, done);
    out.dataset = builder.finish();
    return out;
  }
  try {
    DatasetBuilder builder(tokenize, encoder,
                           [&](std::span<const int32_t> tokens) { as_cache_error([&] { writer->add(tokens); }); });
    stream_rows(sources, builder, out, done);
    as_cache_error([&] { writer->commit(builder.take_parts(), out); });
  } catch (const CacheError& error) {
    // Beginning anew is nothing that the other processes would wait for.
    if (tokenize.share.count > 1)
      fail("{}; the run ends, since its processes read together: make room, or set data.cache=false", error.what());
    spdlog::warn("{}; the tokens stay in memory", error.what());
    writer.reset();
    return load_dataset(sources, tokenize, encoder, std::nullopt, done);
  }
  trim_folder(*cache, kSuffix, kCacheBytes);
  std::string why;
  auto written = open_token_file(cached, key, false, &why);
  if (!written) fail("{}: the token cache was written and can't be read back: {}", cached.string(), why);
  written->from_cache = false;
  return std::move(*written);
}

}  // namespace gavel
