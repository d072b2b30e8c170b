#include "report/table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace gavel {
namespace {

TEST(Table, AlignsColumns) {
  EXPECT_EQ(format_table({"module", "shape", "count"}, {{"q_proj", "[8, 4]", "1,234"}, {"é", "", "5"}},
                         {Align::kLeft, Align::kLeft, Align::kRight}),
            "module  shape   count\n"
            "------  ------  -----\n"
            "q_proj  [8, 4]  1,234\n"
            "é                   5\n");
}

TEST(Table, NoRowsAndNoSpacesAtLineEnds) {
  EXPECT_EQ(format_table({"a", "b"}, {}), "a  b\n-  -\n");
  EXPECT_EQ(format_table({"a", "long"}, {{"1", "x"}}), "a  long\n-  ----\n1  x\n");
}

TEST(Table, RowOfAnotherWidthIsAnError) {
  EXPECT_THROW(format_table({"a", "b"}, {{"1"}}), Error);
}

TEST(Format, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-123), "-123");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Format, Durations) {
  EXPECT_EQ(format_duration(0), "0.00s");
  EXPECT_EQ(format_duration(0.42), "0.42s");
  EXPECT_EQ(format_duration(0.999), "1.0s");
  EXPECT_EQ(format_duration(7.31), "7.3s");
  EXPECT_EQ(format_duration(9.97), "10s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(83), "1m 23s");
  EXPECT_EQ(format_duration(3599.9), "1h 00m");
  EXPECT_EQ(format_duration(7500), "2h 05m");
  EXPECT_EQ(format_duration(86400 * 3 + 4 * 3600), "3d 04h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(INFINITY), "?");
  EXPECT_EQ(format_duration(1e300), "?");
}

TEST(Format, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(uint64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

}  // namespace
}  // namespace gavel
