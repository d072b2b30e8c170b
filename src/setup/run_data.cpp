#include "setup/run_data.h"

#include <chrono>
#include <numeric>

#include "base/error.h"
#include "data/load_dataset.h"
#include "data/statistics.h"
#include "report/progress.h"
#include "rows/row_stream.h"
#include "setup/open_model.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMegabyte = 1000000;

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

TokenizedRows select(const LoadedDataset& data, const std::vector<int64_t>& rows) {
  TokenizedRows out{data.dataset.subset(rows), {}};
  out.turns.reserve(rows.size());
  for (int64_t row : rows) out.turns.push_back(data.turns[static_cast<size_t>(row)]);
  return out;
}

/** A file that a recipe reads, and how. */
struct DataFile {
  fs::path path;
  ReadOptions options;
};

/** That of the training rows, and that of the validation rows if they have one. */
std::vector<DataFile> data_files(const Recipe& recipe, Purpose purpose) {
  std::vector<DataFile> files{{recipe.data.train, training_read_options(recipe, purpose)}};
  if (const auto* valid = std::get_if<std::string>(&recipe.data.valid))
    files.emplace_back(*valid, read_options(recipe, purpose));
  return files;
}

}  // namespace

std::string describe_data(const Recipe& recipe, const RunData& data) {
  std::string out = fmt::format("data {}{}\n{}", recipe.data.train, data.from_cache ? " (tokens from the cache)" : "",
                                data.train_report.format());
  if (data.valid_report)
    out += fmt::format("validation data {}\n{}", std::get<std::string>(recipe.data.valid), data.valid_report->format());
  out += "training rows\n" + dataset_statistics(data.train.tokens).format();
  if (data.valid)
    out += fmt::format("validation rows: {}\n{}", data.valid->tokens.num_rows(),
                       count_labels(data.valid->tokens).format());
  return out;
}

RunDataLoader::RunDataLoader(const Recipe& recipe, const Tokenizer& tokenizer, Purpose purpose,
                             const ProcessGroup& group) {
  for (const DataFile& file : data_files(recipe, purpose)) {
    RowStream check(file.path, file.options);
    total_bytes_ += static_cast<int64_t>(fs::file_size(file.path));
  }
  result_ = std::async(std::launch::async,
                       [this, recipe, purpose, group, options = tokenize_options(recipe, tokenizer),
                        encoder = make_encoder(tokenizer)] { return load(recipe, purpose, options, encoder, group); });
}

RunDataLoader::~RunDataLoader() {
  stop_ = true;
}

RunData RunDataLoader::load(const Recipe& recipe, Purpose purpose, TokenizeOptions options, const TextEncoder& encoder,
                            const ProcessGroup& group) {
  // TPU hosts without a launcher can't tell each other: each tokenizes all.
  if (group.store) {
    auto exchange = std::make_shared<Exchange>(group, "data");
    options.share = {group.index, group.count, [exchange](const std::string& own) { return (*exchange)(own); }};
  }
  std::optional<fs::path> cache;
  if (recipe.data.cache) cache = token_cache_folder();
  int64_t bytes_before = 0;
  auto read = [&](const DataFile& file) {
    LoadedDataset loaded = load_dataset(file.path, file.options, options, encoder, cache, [&](int64_t bytes) {
      if (stop_) throw Error("reading was stopped");
      done_bytes_ = bytes_before + bytes;
    });
    bytes_before += static_cast<int64_t>(fs::file_size(file.path));
    return loaded;
  };
  const std::vector<DataFile> files = data_files(recipe, purpose);
  const bool both_texts = options.with_swapped;
  options.with_swapped = both_texts || recipe.data.swap != Swap::kNone;
  LoadedDataset data = read(files.front());
  const int64_t used = fraction_count(data.dataset.num_rows(), recipe.data.fraction);
  std::span keys(data.keys.data(), static_cast<size_t>(used));
  RunData out{select(data, first_rows(used)), std::nullopt, data.report, std::nullopt, 0, data.from_cache};
  const auto seed = static_cast<uint64_t>(recipe.train.seed);
  auto set_aside = [&](const Split& split) {
    out.valid = select(data, split.valid);
    out.train = select(data, split.train);
  };
  if (recipe.data.folds) {
    set_aside(fold_split(keys, *recipe.data.folds, recipe.data.fold, seed));
  } else if (files.size() > 1) {
    options.with_swapped = both_texts;
    LoadedDataset valid = read(files.back());
    out.shared_prompts = count_shared_prompts(keys, valid.keys);
    out.valid = select(valid, first_rows(valid.dataset.num_rows()));
    out.valid_report = valid.report;
    out.from_cache = out.from_cache && valid.from_cache;
  } else if (double share = std::get<double>(recipe.data.valid); share > 0) {
    set_aside(split_rows(keys, share, seed));
  }
  return out;
}

RunData RunDataLoader::get() {
  using namespace std::chrono_literals;
  // No bar for what is there in a moment.
  if (result_.wait_for(500ms) != std::future_status::ready) {
    Progress progress(std::max<int64_t>(1, total_bytes_ / kMegabyte), "read data", "megabyte");
    while (result_.wait_for(100ms) != std::future_status::ready) progress.update(done_bytes_ / kMegabyte);
  }
  return result_.get();
}

}  // namespace gavel
