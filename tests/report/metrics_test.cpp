#include "report/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() { std::filesystem::remove(path_); }
  ~MetricsTest() override { std::filesystem::remove(path_); }

  std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) / fmt::format("gavel_metrics_test_{}.jsonl", ::getpid());
};

TEST_F(MetricsTest, LinesAreThereAtOnceAndComeBack) {
  MetricsWriter writer(path_);
  MetricRow first = {{"step", 1}, {"loss", 0.1 + 0.2}, {"kind", "a \"b\"\n"}, {"large", int64_t{1} << 62}};
  writer.write(first);
  EXPECT_EQ(read_text(path_),
            "{\"step\":1,\"loss\":0.30000000000000004,\"kind\":\"a "
            "\\\"b\\\"\\n\",\"large\":4611686018427387904}\n");
  writer.write({{"step", 2}, {"loss", std::nan("")}});
  auto rows = read_metrics(path_);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0], first);
  EXPECT_TRUE(std::isnan(metric(rows[1], "loss")));
  EXPECT_EQ(metric(rows[1], "step"), 2);
  EXPECT_TRUE(std::isnan(metric(rows[0], "kind")));
  EXPECT_TRUE(std::isnan(metric(rows[0], "absent")));
}

TEST_F(MetricsTest, AppendsAndCutsHalfALine) {
  MetricsWriter(path_).write({{"step", 1}});
  std::ofstream(path_, std::ios::app) << "{\"step\": 2, \"lo";
  EXPECT_EQ(read_metrics(path_).size(), 1u);
  MetricsWriter(path_).write({{"step", 2}});
  EXPECT_EQ(read_text(path_), "{\"step\":1}\n{\"step\":2}\n");
}

TEST_F(MetricsTest, CutKeepsWhatIsNotBeyond) {
  EXPECT_NO_THROW(cut_metrics(path_, 3, 3));
  {
    MetricsWriter writer(path_);
    writer.write({{"event", "start"}});
    for (int step = 1; step <= 5; ++step) writer.write({{"kind", "train"}, {"step", step}});
    writer.write({{"kind", "eval"}, {"step", 5}});
  }
  auto lines = [&] { return read_metrics(path_).size(); };
  cut_metrics(path_, 5, 5);
  EXPECT_EQ(lines(), 7u);
  cut_metrics(path_, 5, 0);  // step 5 will be evaluated again
  EXPECT_EQ(lines(), 6u);
  cut_metrics(path_, 3, 0);
  EXPECT_EQ(lines(), 4u);
  EXPECT_EQ(metric(read_metrics(path_).back(), "step"), 3);
  cut_metrics(path_, 0, -1);
  EXPECT_EQ(read_text(path_), "{\"event\":\"start\"}\n");
}

TEST_F(MetricsTest, OddTextIsWrittenAsValidJson) {
  MetricsWriter(path_).write({{"text", std::string("\xff\xfe")}});
  EXPECT_EQ(std::get<std::string>(read_metrics(path_)[0][0].second), "\ufffd\ufffd");
}

TEST_F(MetricsTest, BadLinesNameFileAndLine) {
  for (std::string line : {"[1]", "{", "x", "{\"a\": [1]}", "{\"a\": true}", "5"}) {
    std::ofstream(path_) << "{\"a\": 1}\n\n" << line << "\n";
    try {
      read_metrics(path_);
      FAIL() << line;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(path_.string() + ": line 3:")) << line;
    }
  }
}

TEST_F(MetricsTest, UnwritablePlaceIsAnError) {
  EXPECT_THROW(MetricsWriter("/nonexistent_folder/metrics.jsonl"), Error);
  EXPECT_THROW(MetricsWriter{testing::TempDir()}, Error);
}

}  // namespace
}  // namespace gavel
