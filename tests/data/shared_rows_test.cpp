#include "data/shared_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "data/dataset.h"
#include "data/test_support.h"

namespace gavel {
namespace {

std::vector<EncodedRow> some_rows(size_t count) {
  Random random(1);
  std::vector<EncodedRow> rows(count);
  for (EncodedRow& row : rows) {
    row.text.ids.resize(random.below(50));
    for (int32_t& id : row.text.ids) id = static_cast<int32_t>(random.below(1u << 20));
    row.text.full_length = static_cast<int64_t>(random.below(100000));
    row.swapped.ids.resize(random.below(5));
  }
  return rows;
}

TEST(SharedRows, ComeBackAsTheyWere) {
  std::vector<EncodedRow> rows = some_rows(40), again(40);
  unpack_rows(pack_rows(rows), again);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(again[i].text.ids, rows[i].text.ids);
    EXPECT_EQ(again[i].text.full_length, rows[i].text.full_length);
    EXPECT_EQ(again[i].swapped.ids, rows[i].swapped.ids);
  }
}

TEST(SharedRows, DamagedBytesAreRefused) {
  std::string bytes = pack_rows(some_rows(3));
  std::vector<EncodedRow> rows(3);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(unpack_rows(bytes.substr(0, size), rows), Error) << size;
  EXPECT_THROW(unpack_rows(bytes + "x", rows), Error);
  EXPECT_THROW(unpack_rows(std::string(40, '\xff'), rows), Error);
  std::vector<EncodedRow> more(4);
  EXPECT_THROW(unpack_rows(bytes, more), Error);
}

std::vector<PreferenceRow> make_rows(int64_t count) {
  std::vector<PreferenceRow> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    PreferenceRow& row = rows[static_cast<size_t>(i)];
    row.prompt = {fmt::format("question {}", i)};
    row.response_a = {std::string(static_cast<size_t>(i % 17), 'a')};
    row.response_b = {std::string(static_cast<size_t>(i % 29), 'b')};
    row.has_label = i % 5 != 0;
    row.label = {i % 3 == 0 ? 1.0f : 0.0f, i % 3 == 1 ? 1.0f : 0.0f, i % 3 == 2 ? 1.0f : 0.0f};
    row.source_row = i + 7;
  }
  return rows;
}

/** Everybody's texts, between threads that stand for processes. */
class Meeting {
 public:
  explicit Meeting(size_t count) : barrier_(static_cast<std::ptrdiff_t>(count)), texts_(count) {}
  std::vector<std::string> exchange(size_t index, const std::string& own) {
    texts_[index] = own;
    barrier_.arrive_and_wait();
    std::vector<std::string> all = texts_;
    barrier_.arrive_and_wait();
    return all;
  }

 private:
  std::barrier<> barrier_;
  std::vector<std::string> texts_;
};

TEST(SharedRows, EachProcessEncodesItsShareAndHoldsAll) {
  constexpr size_t kProcesses = 3;
  std::vector<PreferenceRow> rows = make_rows(9001);
  TokenizeOptions options;
  options.with_swapped = true;
  TokenizedDataset alone = tokenize(rows, options, byte_encoder());
  Meeting meeting(kProcesses);
  std::vector<std::optional<TokenizedDataset>> datasets(kProcesses);
  std::vector<std::atomic<int64_t>> encoded(kProcesses);
  std::vector<std::thread> threads;
  for (size_t process = 0; process < kProcesses; ++process)
    threads.emplace_back([&, process] {
      TextEncoder encoder = byte_encoder();
      encoder.encode = [&, process, encode = encoder.encode](std::string_view text, std::vector<int32_t>& ids) {
        ++encoded[process];
        encode(text, ids);
      };
      TokenizeOptions own = options;
      own.share = {static_cast<int64_t>(process), kProcesses,
                   [&, process](const std::string& text) { return meeting.exchange(process, text); }};
      datasets[process] = tokenize(rows, own, encoder);
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t process = 0; process < kProcesses; ++process) {
    EXPECT_NEAR(static_cast<double>(encoded[process]), 2.0 * 9001 / kProcesses, 2.0 * kProcesses);
    const TokenizedDataset& found = *datasets[process];
    ASSERT_EQ(found.num_rows(), alone.num_rows());
    for (int64_t row = 0; row < alone.num_rows(); ++row) {
      for (bool swap : {false, true})
        ASSERT_TRUE(std::ranges::equal(found.tokens(row, swap), alone.tokens(row, swap))) << process << " " << row;
      ASSERT_EQ(found.full_length(row), alone.full_length(row));
      ASSERT_EQ(found.label(row), alone.label(row));
      ASSERT_EQ(found.source_row(row), alone.source_row(row));
    }
  }
}

}  // namespace
}  // namespace gavel
