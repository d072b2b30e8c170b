#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>

#include "base/random.h"
#include "data/load_dataset.h"
#include "data/prefetch.h"
#include "data/test_support.h"
#include "sample/sample.h"

namespace gavel {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

TextEncoder named_encoder(const std::string& name, int* calls = nullptr) {
  TextEncoder encoder = byte_encoder();
  encoder.prefix = {300};
  encoder.fingerprint = name;
  if (calls != nullptr)
    encoder.encode = [calls, inner = encoder.encode](std::string_view text, std::vector<int32_t>& out) {
      __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED);
      inner(text, out);
    };
  return encoder;
}

TokenizeOptions options_for_test() {
  TokenizeOptions options;
  options.max_length = 150;
  options.with_swapped = true;
  return options;
}

/** Of one file. */
LoadedDataset load_file(const fs::path& path, const ReadOptions& read, const TokenizeOptions& options,
                        const TextEncoder& encoder, const std::optional<fs::path>& cache = std::nullopt) {
  const DataSource source{path, read};
  return load_dataset(std::span(&source, 1), options, encoder, cache);
}

void expect_same(const LoadedDataset& a, const LoadedDataset& b) {
  ASSERT_EQ(a.dataset.num_rows(), b.dataset.num_rows());
  for (int64_t row = 0; row < a.dataset.num_rows(); ++row) {
    for (bool swap : {false, true}) {
      auto x = a.dataset.tokens(row, swap), y = b.dataset.tokens(row, swap);
      ASSERT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
    }
    EXPECT_EQ(a.dataset.label(row), b.dataset.label(row));
    EXPECT_EQ(a.dataset.weight(row), b.dataset.weight(row));
    EXPECT_EQ(a.dataset.source_row(row), b.dataset.source_row(row));
    EXPECT_EQ(a.dataset.full_length(row), b.dataset.full_length(row));
    EXPECT_EQ(a.keys[static_cast<size_t>(row)].prompt_hash, b.keys[static_cast<size_t>(row)].prompt_hash);
  }
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.turns, b.turns);
  EXPECT_EQ(a.file_rows, b.file_rows);
  ASSERT_EQ(a.reports.size(), b.reports.size());
  for (size_t i = 0; i < a.reports.size(); ++i) EXPECT_EQ(a.reports[i].format(), b.reports[i].format());
  EXPECT_EQ(a.has_labels, b.has_labels);
}

fs::path only_file(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  EXPECT_EQ(files.size(), 1u);
  return files.at(0);
}

TEST(LoadDataset, IsReadCleanAndTokenizeInOne) {
  TempFolder folder;
  make_sample(folder / "a.csv", std::nullopt, 200, 0, 4);
  PreferenceData data = read_preferences(folder / "a.csv", {});
  TokenizedDataset expected = tokenize(data.rows, options_for_test(), named_encoder("x"));
  LoadedDataset loaded = load_file(folder / "a.csv", {}, options_for_test(), named_encoder("x"));
  ASSERT_EQ(loaded.dataset.num_rows(), 200);
  for (int64_t row = 0; row < 200; ++row) {
    auto x = expected.tokens(row, true), y = loaded.dataset.tokens(row, true);
    EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
    EXPECT_EQ(loaded.ids[static_cast<size_t>(row)], data.rows[static_cast<size_t>(row)].id);
  }
  Split split = split_rows(loaded.keys, 0.2, 1);
  TokenizedDataset valid = loaded.dataset.subset(split.valid);
  ASSERT_EQ(valid.num_rows(), static_cast<int64_t>(split.valid.size()));
  EXPECT_EQ(valid.source_row(3), split.valid[3] + 1);
  EXPECT_EQ(valid.subset(std::vector<int64_t>{3}).source_row(0), split.valid[3] + 1);
  EXPECT_THAT(error_of([&] { valid.label(valid.num_rows()); }), HasSubstr("TokenizedDataset: row"));
}

TEST(TokenCache, IsUsedOnceItIsThereAndOnlyForTheSameThing) {
  TempFolder folder;
  make_sample(folder / "a.csv", std::nullopt, 120, 0, 4);
  int calls = 0;
  auto load = [&](const std::string& tokenizer, TokenizeOptions options, ReadOptions read = {}) {
    calls = 0;
    return load_file(folder / "a.csv", read, options, named_encoder(tokenizer, &calls), folder / "cache");
  };
  LoadedDataset first = load("x", options_for_test());
  EXPECT_FALSE(first.from_cache);
  EXPECT_EQ(calls, 240);
  LoadedDataset second = load("x", options_for_test());
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(calls, 0);
  expect_same(first, second);
  // Another tokenizer, setting or content is another key.
  EXPECT_FALSE(load("y", options_for_test()).from_cache);
  TokenizeOptions other = options_for_test();
  other.max_length = 149;
  EXPECT_FALSE(load("x", other).from_cache);
  other = options_for_test();
  other.text = Template::parse("turns");
  EXPECT_FALSE(load("x", other).from_cache);
  EXPECT_FALSE(load("x", options_for_test(), {.purpose = Purpose::kPredict}).from_cache);
  make_sample(folder / "a.csv", std::nullopt, 120, 0, 5);
  LoadedDataset changed = load("x", options_for_test());
  EXPECT_FALSE(changed.from_cache);
  EXPECT_TRUE(load("x", options_for_test()).from_cache);
  EXPECT_FALSE(load("", options_for_test()).from_cache) << "a tokenizer without a name is never cached";
  EXPECT_EQ(load("", options_for_test()).dataset.num_rows(), 120);
}

TEST(TokenCache, KeepsWeightsAndKnowsTheirColumn) {
  TempFolder folder;
  const fs::path file =
      folder.write("a.csv", "prompt,response_a,response_b,winner,w,v\np,a,b,tie,0.5,1\nq,a,b,tie,2,3\nr,a,b,tie,1,1\n");
  ReadOptions read{.format = Format::kWsdm};
  auto load = [&](const std::string& column) {
    read.columns.weight = column;
    return load_file(file, read, options_for_test(), named_encoder("x"), folder / "cache");
  };
  LoadedDataset first = load("w"), second = load("w");
  EXPECT_TRUE(second.from_cache);
  expect_same(first, second);
  EXPECT_EQ(second.dataset.weight(0), 0.5f);
  TokenizedDataset part = second.dataset.subset(std::vector<int64_t>{2, 1});
  EXPECT_EQ(part.weight(1), 2);
  LoadedDataset other = load("v");
  EXPECT_FALSE(other.from_cache);
  EXPECT_EQ(other.dataset.weight(1), 3);
  EXPECT_EQ(load("").dataset.weight(1), 1);
  // Rows and their exchanges have the same weight, and what fills a batch up has none.
  BatchOptions options;
  options.batch_size = 4;
  options.max_length = 150;
  options.swap = Swap::kBoth;
  options.shuffle = options.drop_last = false;
  StepBatches last = Batcher(first.dataset, options).step(1);
  auto weights = last.micro.at(0).weights.as<float>();
  EXPECT_EQ(std::vector<float>(weights.begin(), weights.end()), (std::vector<float>{1, 1, 0, 0}));
  StepBatches step = Batcher(first.dataset, options).step(0);
  EXPECT_EQ(step.weight, 5);
  EXPECT_EQ(step.num_rows, 4);
}

TEST(LoadDataset, SeveralFilesAreOne) {
  TempFolder folder;
  const std::string header = "prompt,response_a,response_b,winner\n";
  const fs::path a = folder.write("a.csv", header + "p,a,b,tie\nq,a,b,x\nr,a,b,a\n");
  const fs::path b = folder.write("b.jsonl", R"({"prompt":"r","response_a":"b","response_b":"a","winner":"b"})"
                                             "\n"
                                             R"({"prompt":"s","response_a":"a","response_b":"b","winner":"b"})"
                                             "\n");
  ReadOptions read{.format = Format::kWsdm, .drop_duplicates = true};
  const std::vector<DataSource> sources = {{a, read}, {b, read}};
  auto load = [&](const std::vector<DataSource>& files) {
    return load_dataset(files, options_for_test(), named_encoder("x"), folder / "cache");
  };
  const LoadedDataset both = load(sources);
  // The second file's first row is the first file's last with A and B exchanged.
  ASSERT_EQ(both.dataset.num_rows(), 3);
  EXPECT_THAT(both.file_rows, testing::ElementsAre(2, 1));
  EXPECT_EQ(both.reports[0].unknown_labels.at("x"), 1);
  EXPECT_EQ(both.reports[1][Oddity::kDuplicate].dropped, 1);
  // Rows are counted on: three of the first file, then two.
  EXPECT_EQ(both.dataset.source_row(1), 3);
  EXPECT_EQ(both.dataset.source_row(2), 5);
  EXPECT_EQ(both.dataset.source(1), (std::pair<size_t, int64_t>(0, 3)));
  EXPECT_EQ(both.dataset.source(2), (std::pair<size_t, int64_t>(1, 2)));
  const TokenizedDataset weighted = both.dataset.with_file_weights({1, 0.25f}).subset(std::vector<int64_t>{2, 0});
  EXPECT_EQ(weighted.weight(0), 0.25f);
  EXPECT_EQ(weighted.weight(1), 1);
  const LoadedDataset again = load(sources);
  EXPECT_TRUE(again.from_cache);
  expect_same(both, again);
  EXPECT_EQ(again.dataset.source(2), both.dataset.source(2));
  EXPECT_FALSE(load({sources[1], sources[0]}).from_cache);
  EXPECT_FALSE(load({sources[0]}).from_cache);
}

TEST(TokenCache, TornAndDamagedFilesAreMadeAnew) {
  TempFolder folder;
  make_sample(folder / "a.csv", std::nullopt, 60, 0, 4);
  auto load = [&] { return load_file(folder / "a.csv", {}, options_for_test(), named_encoder("x"), folder / "cache"); };
  LoadedDataset first = load();
  const fs::path file = only_file(folder / "cache");
  const std::string whole = read_text(file);
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    std::string broken = whole;
    if (trial % 2 == 0)
      broken.resize(random.below(broken.size()));
    else
      broken[random.below(broken.size())] ^= static_cast<char>(1u << random.below(8));
    // Not through a mapping that is still open: a new file under the name.
    fs::remove(file);
    std::ofstream(file, std::ios::binary) << broken;
    LoadedDataset again = load();
    EXPECT_FALSE(again.from_cache) << "trial " << trial;
    expect_same(first, again);
    EXPECT_EQ(read_text(file), whole);
  }
  EXPECT_TRUE(load().from_cache);
}

TEST(TokenCache, AFolderThatCannotBeWrittenIsNoError) {
  TempFolder folder;
  make_sample(folder / "a.csv", std::nullopt, 30, 0, 4);
  folder.write("cache", "a file where the folder should be");
  LoadedDataset loaded = load_file(folder / "a.csv", {}, options_for_test(), named_encoder("x"), folder / "cache");
  EXPECT_EQ(loaded.dataset.num_rows(), 30);
  EXPECT_FALSE(loaded.from_cache);
}

TEST(TokenCache, ABrokenDataFileLeavesNothingBehind) {
  TempFolder folder;
  fs::path path = folder.write("a.csv",
                               "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
                               "1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\n2,x\n");
  EXPECT_THAT(error_of([&] { load_file(path, {}, options_for_test(), named_encoder("x"), folder / "cache"); }),
              HasSubstr("row 2"));
  EXPECT_TRUE(fs::is_empty(folder / "cache"));
}

TEST(Prefetch, GivesWhatTheBatcherGives) {
  TempFolder folder;
  make_sample(folder / "a.csv", std::nullopt, 100, 0, 4);
  LoadedDataset loaded = load_file(folder / "a.csv", {}, options_for_test(), named_encoder("x"));
  Batcher batcher(loaded.dataset, {.batching = Batching::kPacked, .batch_size = 8, .max_length = 150});
  BatchPrefetcher prefetcher(batcher, 3, 30);
  for (int64_t step = 3; step < 30; ++step) {
    StepBatches ahead = prefetcher.next(), now = batcher.step(step);
    ASSERT_EQ(ahead.micro.size(), now.micro.size());
    for (size_t m = 0; m < now.micro.size(); ++m) {
      EXPECT_EQ(ahead.micro[m].row_indices, now.micro[m].row_indices);
      auto x = ahead.micro[m].input_ids.as<int32_t>(), y = now.micro[m].input_ids.as<int32_t>();
      EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
    }
  }
  EXPECT_THAT(error_of([&] { prefetcher.next(); }), HasSubstr("no step is left"));
  BatchPrefetcher unused(batcher, 0, 1000);  // ends without being asked
}

}  // namespace
}  // namespace gavel
