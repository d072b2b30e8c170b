#include "data/statistics.h"

#include <gmock/gmock.h>

#include <cmath>

#include "data/test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

TEST(Statistics, AsPandasDescribesThem) {
  // pandas.Series([...]).describe(percentiles=[.25, .5, .75, .9, .95, .99])
  std::vector<int64_t> values = {3, 141, 59, 26, 5, 35, 89, 79, 32, 38, 46};
  Distribution d = describe(values);
  EXPECT_EQ(d.count, 11);
  EXPECT_DOUBLE_EQ(d.mean, 50.27272727272727);
  EXPECT_DOUBLE_EQ(d.std, 40.30159031376035);
  EXPECT_EQ(d.min, 3);
  EXPECT_DOUBLE_EQ(d.p25, 29);
  EXPECT_DOUBLE_EQ(d.p50, 38);
  EXPECT_DOUBLE_EQ(d.p75, 69);
  EXPECT_DOUBLE_EQ(d.p90, 89);
  EXPECT_DOUBLE_EQ(d.p95, 115);
  EXPECT_DOUBLE_EQ(d.p99, 135.8);
  EXPECT_EQ(d.max, 141);
  EXPECT_TRUE(std::isnan(describe(std::vector<int64_t>{4}).std));
  EXPECT_EQ(describe({}).count, 0);
}

TEST(Statistics, HistogramCountsEveryValue) {
  std::string text = histogram(std::vector<int64_t>{1, 1, 2, 3, 100}, 10).format(20);
  EXPECT_THAT(text, HasSubstr("4 ████████████████████\n"));
  EXPECT_THAT(text, HasSubstr("1 █████\n"));
  EXPECT_EQ(histogram({}).format(), "");
  EXPECT_THAT(histogram(std::vector<int64_t>{7, 7}).format(), HasSubstr("7 - 7              2"));
}

TEST(Statistics, FewLongRowsDoNotFlattenTheHistogram) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < 1000; ++i) values.push_back(10 + i % 100);
  values.push_back(50000);
  Histogram found = histogram(values, 11);
  ASSERT_EQ(found.bins.size(), 11u);
  EXPECT_EQ(found.bins[0].from, 10);
  EXPECT_EQ(found.bins[1].from, 20);
  EXPECT_EQ(found.bins[1].count, 100);
  EXPECT_EQ(found.bins.back().count, 1);
  EXPECT_EQ(found.bins.back().to, 50000);
  int64_t sum = 0;
  for (const auto& bin : found.bins) sum += bin.count;
  EXPECT_EQ(sum, 1001);
}

TEST(Statistics, TableHasAColumnForEachDistribution) {
  std::string text =
      format_distributions({{"one", describe(std::vector<int64_t>{1, 2})}, {"two", describe(std::vector<int64_t>{3})}});
  EXPECT_THAT(text, HasSubstr("count                2               1\n"));
  EXPECT_THAT(text, HasSubstr("mean          1.500000        3.000000\n"));
  EXPECT_THAT(text, HasSubstr("99%               1.99            3.00\n"));
}

TEST(Statistics, OfADataset) {
  std::vector<PreferenceRow> rows(3, PreferenceRow{"1", {"p"}, {"a"}, {"b"}, {1, 0, 0}, true, 1});
  rows[1].label = {0, 0.5f, 0.5f};
  rows[2].has_label = false;
  rows[2].prompt = {std::string(100, 'x')};
  TokenizeOptions options;
  options.max_length = 100;
  auto dataset = tokenize(rows, options, byte_encoder());
  DatasetStatistics statistics = dataset_statistics(dataset);
  EXPECT_EQ(statistics.rows, 3);
  EXPECT_EQ(statistics.cut_rows, 1);
  EXPECT_EQ(statistics.labels.unlabelled, 1);
  EXPECT_EQ(statistics.labels.sums[1], 0.5);
  EXPECT_THAT(statistics.format(), HasSubstr("1 rows (33.3 %) cut by max_length"));
  EXPECT_EQ(statistics.lengths.max, 100);
  EXPECT_GT(statistics.full_lengths.max, 140);
  WasteTable table = padding_waste(dataset, {.batch_size = 2, .max_length = 100});
  ASSERT_EQ(table.lines.size(), 4u);
  EXPECT_GT(table.lines[0].waste.wasted(), table.lines[3].waste.wasted());
  EXPECT_THAT(table.format(), HasSubstr("packed"));
}

}  // namespace
}  // namespace gavel
