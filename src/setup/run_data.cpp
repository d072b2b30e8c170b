#include "setup/run_data.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <unordered_set>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
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
constexpr size_t kMostNamed = 8;  // classes

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

CleaningReport total(const std::vector<CleaningReport>& reports) {
  CleaningReport out = reports.front();
  for (size_t i = 1; i < reports.size(); ++i) out.add(reports[i]);
  // Of several files a row's number says little.
  if (reports.size() > 1) {
    for (auto& entry : out.entries) entry.first_rows.clear();
    out.unreadable.clear();
  }
  return out;
}

/** `count` of the `total` rows of a file, drawn by seed, in their order. */
std::vector<int64_t> draw_rows(int64_t total, int64_t count, uint64_t key) {
  std::vector<int64_t> rows = first_rows(total);
  std::sort(rows.begin(), rows.end(), [key](int64_t a, int64_t b) {
    return random_bits(key, static_cast<uint64_t>(a)) < random_bits(key, static_cast<uint64_t>(b));
  });
  rows.resize(static_cast<size_t>(count));
  std::sort(rows.begin(), rows.end());
  return rows;
}

int64_t count_teachers(const TokenizedDataset& rows) {
  int64_t count = 0;
  for (int64_t row = 0; row < rows.num_rows(); ++row) count += rows.has_teacher(row);
  return count;
}

/** The rows with what training makes of them beside their votes. */
RunData with_targets(const Recipe& recipe, RunData data) {
  TokenizedDataset& rows = data.train.tokens;
  const Recipe::Columns& columns = recipe.data.columns;
  if (columns.teacher_a) {
    rows = rows.with_teacher(recipe.data.teacher_weight);
    if (count_teachers(rows) == 0)
      fail("data.columns.teacher_a: no training row has a teacher's shares ('{}', …): check the columns' names",
           *columns.teacher_a);
  }
  if (!columns.auxiliary.empty()) rows = rows.with_auxiliary(choose_auxiliary_classes(rows));
  return data;
}

}  // namespace

std::string describe_data(const Recipe& recipe, const RunData& data) {
  std::string out;
  for (const FileRows& file : data.files) {
    out += fmt::format("data {}{}\n{}", file.path.string(), data.from_cache ? " (tokens from the cache)" : "",
                       file.report.format());
    if (file.rows < file.report.rows_kept) out += fmt::format("  {} of them are taken\n", file.rows);
  }
  if (data.excluded_rows > 0)
    out += fmt::format("{} rows are left out, as their prompts are in {}\n", data.excluded_rows,
                       recipe.data.exclude ? "data.exclude" : "data.valid");
  if (data.valid_report)
    out += fmt::format("validation data {}\n{}", std::get<std::string>(recipe.data.valid), data.valid_report->format());
  out += "training rows\n" + dataset_statistics(data.train.tokens).format();
  if (recipe.data.columns.teacher_a)
    out += fmt::format("{} of them with a teacher, of weight {} in their targets\n", count_teachers(data.train.tokens),
                       recipe.data.teacher_weight);
  if (const AuxiliaryClasses* found = data.train.tokens.auxiliary_classes())
    out += fmt::format("auxiliary head over {}: {} classes: {}{}\n", fmt::join(recipe.data.columns.auxiliary, ", "),
                       found->names.size(),
                       fmt::join(std::span(found->names).first(std::min(found->names.size(), kMostNamed)), ", "),
                       found->names.size() > kMostNamed ? ", …" : "");
  if (data.valid)
    out += fmt::format("validation rows: {}\n{}", data.valid->tokens.num_rows(),
                       count_labels(data.valid->tokens).format());
  return out;
}

RunDataLoader::RunDataLoader(const Recipe& recipe, const Tokenizer& tokenizer, Purpose purpose,
                             const ProcessGroup& group) {
  auto check = [this](const DataSource& source) { total_bytes_ += RowStream(source.path, source.read).bytes(); };
  for (const TrainFile& file : train_files(recipe, purpose)) check(file.source);
  for (const DataSource& source : excluded_files(recipe)) check(source);
  for (const DataSource& source : valid_files(recipe, purpose)) check(source);
  for (const std::string& line : describe_folders(recipe)) spdlog::info("{}", line);
  result_ = std::async(std::launch::async, [this, recipe, purpose, group, options = tokenize_options(recipe, tokenizer),
                                            encoder = make_encoder(tokenizer)] {
    RunData data = load(recipe, purpose, options, encoder, group);
    return purpose == Purpose::kTrain ? with_targets(recipe, std::move(data)) : data;
  });
}

RunDataLoader::~RunDataLoader() {
  stop_ = true;
}

std::vector<int64_t> RunDataLoader::usable_rows(const Recipe& recipe, const std::vector<TrainFile>& files,
                                                const LoadedDataset& data, const LoadedDataset* valid, RunData& out) {
  std::vector<int64_t> taken;
  const auto seed = static_cast<uint64_t>(recipe.train.seed);
  int64_t first = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const int64_t used = fraction_count(data.file_rows[i], recipe.data.fraction);
    const int64_t count = std::min(used, files[i].rows.value_or(used));
    for (int64_t row : draw_rows(used, count, random_bits(seed, i))) taken.push_back(first + row);
    out.files.push_back({files[i].source.path, data.reports[i], count});
    first += data.file_rows[i];
  }
  std::unordered_set<uint64_t> prompts;
  for (const DataSource& source : excluded_files(recipe)) {
    RowStream stream(source.path, source.read);
    std::vector<PreferenceRow> block;
    while (stream.next_block(block)) {
      for (const PreferenceRow& row : block) prompts.insert(row_key(row).prompt_hash);
      report_bytes(stream.bytes_read());
    }
    bytes_before_ += stream.bytes();
  }
  if (recipe.data.exclude_valid_prompts && valid != nullptr)
    for (const RowKey& key : valid->keys) prompts.insert(key.prompt_hash);
  out.excluded_rows = static_cast<int64_t>(std::erase_if(
      taken, [&](int64_t row) { return prompts.contains(data.keys[static_cast<size_t>(row)].prompt_hash); }));
  if (taken.empty())
    fail("data.exclude: all {} rows of {} have prompts of the files that are kept out", out.excluded_rows,
         recipe.data.train.text());
  return taken;
}

void RunDataLoader::report_bytes(int64_t bytes) {
  if (stop_) throw Error("reading was stopped");
  done_bytes_ = bytes_before_ + bytes;
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
  if (cache && cache->empty()) cache.reset();
  auto read = [&](std::span<const DataSource> sources) {
    int64_t done = 0;
    LoadedDataset loaded =
        load_dataset(sources, options, encoder, cache, [&](int64_t bytes) { report_bytes(done = bytes); });
    bytes_before_ += done;
    return loaded;
  };
  const std::vector<TrainFile> files = train_files(recipe, purpose);
  std::vector<DataSource> sources;
  std::vector<float> file_weights;
  for (const TrainFile& file : files) {
    sources.push_back(file.source);
    file_weights.push_back(static_cast<float>(file.weight));
  }
  const bool both_texts = options.with_swapped;
  options.with_swapped = both_texts || recipe.data.swap != Swap::kNone;
  LoadedDataset data = read(sources);
  data.dataset = data.dataset.with_file_weights(file_weights);
  RunData out{.train = {data.dataset, {}}, .train_report = total(data.reports), .from_cache = data.from_cache};
  std::optional<LoadedDataset> valid;
  if (const std::vector<DataSource> held = valid_files(recipe, purpose); !held.empty() && !recipe.data.folds) {
    options.with_swapped = both_texts;
    valid = read(held);
  }
  const std::vector<int64_t> rows = usable_rows(recipe, files, data, valid ? &*valid : nullptr, out);
  std::vector<RowKey> keys;
  keys.reserve(rows.size());
  for (int64_t row : rows) keys.push_back(data.keys[static_cast<size_t>(row)]);
  const auto seed = static_cast<uint64_t>(recipe.train.seed);
  auto set_aside = [&](Split split) {
    // What has a teacher but no vote can't be measured against.
    std::erase_if(split.valid, [&](int64_t place) {
      return keys[static_cast<size_t>(place)].label == std::array<float, 3>{} && recipe.data.columns.teacher_a;
    });
    auto side = [&](const std::vector<int64_t>& places) {
      std::vector<int64_t> chosen;
      for (int64_t place : places) chosen.push_back(rows[static_cast<size_t>(place)]);
      return select(data, chosen);
    };
    out.valid = side(split.valid);
    out.train = side(split.train);
  };
  if (recipe.data.folds) {
    set_aside(fold_split(keys, *recipe.data.folds, recipe.data.fold, seed));
    return out;
  }
  const double* share = std::get_if<double>(&recipe.data.valid);
  if (share != nullptr && *share > 0) {
    set_aside(split_rows(keys, *share, seed));
    return out;
  }
  out.train = select(data, rows);
  if (valid) {
    out.shared_prompts = count_shared_prompts(keys, valid->keys);
    out.valid = select(*valid, first_rows(valid->dataset.num_rows()));
    out.valid_report = total(valid->reports);
    out.from_cache = out.from_cache && valid->from_cache;
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
