#include "data/batcher.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"
#include "data/packing.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

constexpr int64_t kMaxLength = 64;

/** Row r has tokens 1000 * r + position (its exchange 500 more), so that every token tells where it is from.
 */
TokenizedDataset made_dataset(int64_t rows, bool with_swapped, uint64_t seed = 1) {
  TokenizeOptions options;
  options.max_length = kMaxLength;
  options.with_swapped = with_swapped;
  DatasetBuilder builder(options, byte_encoder());
  Random random(seed);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t length = 1 + static_cast<int64_t>(random.below(random.below(4) == 0 ? kMaxLength : 20));
    std::vector<int32_t> tokens, exchanged;
    for (int64_t t = 0; t < length; ++t) {
      tokens.push_back(static_cast<int32_t>(1000 * (row + 1) + t));
      exchanged.push_back(static_cast<int32_t>(1000 * (row + 1) + 500 + t));
    }
    std::array<float, 3> label{};
    label[static_cast<size_t>(row % 3)] = 1;
    builder.add_tokens(tokens, label, exchanged);
  }
  return builder.finish();
}

/** Checks one micro-batch on its own and returns the rows it holds. */
void check_batch(const Batcher& batcher, const Batch& batch, std::map<std::pair<int64_t, bool>, int>& seen,
                 std::map<int32_t, int64_t>& dropout_rows) {
  const auto& dataset = batcher.dataset();
  const int64_t length = batch.input_ids.shape()[1];
  BatchShape shape{batch.input_ids.shape()[0], length, batch.weights.size()};
  auto shapes = batcher.shapes();
  EXPECT_NE(std::find(shapes.begin(), shapes.end(), shape), shapes.end()) << "a shape that was not announced";
  EXPECT_EQ(batch.num_tokens, batch.input_ids.size());
  auto ids = batch.input_ids.as<int32_t>();
  auto positions = batch.positions.as<int32_t>();
  auto segments = batch.segment_ids.as<int32_t>();
  auto dropout = batch.dropout_rows.as<int32_t>();
  auto last = batch.last_index.as<int32_t>();
  auto labels = batch.labels.as<float>();
  auto weights = batch.weights.as<float>();
  int64_t real = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (segments[i] == 0) {
      EXPECT_EQ(ids[i], 0);
      EXPECT_EQ(positions[i], 0);
    } else {
      ++real;
    }
  }
  EXPECT_EQ(real, batch.num_real_tokens);
  ASSERT_EQ(batch.row_indices.size(), static_cast<size_t>(batch.num_rows));
  for (int64_t r = 0; r < batch.weights.size(); ++r) {
    size_t at = static_cast<size_t>(r);
    if (r >= batch.num_rows) {
      EXPECT_EQ(weights[at], 0);
      EXPECT_EQ(last[at], 0);
      EXPECT_EQ(labels[3 * at] + labels[3 * at + 1] + labels[3 * at + 2], 0);
      continue;
    }
    EXPECT_EQ(weights[at], 1);
    int64_t row = batch.row_indices[at];
    bool swap = batch.swapped[at] != 0;
    ++seen[{row, swap}];
    auto label = dataset.label(row, swap);
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(labels[3 * at + c], label[c]);
    // The row's tokens lie together, in one segment that holds nothing else, and end at last_index.
    auto tokens = dataset.tokens(row, swap);
    int64_t end = last[at] + 1, begin = end - static_cast<int64_t>(tokens.size());
    ASSERT_GE(begin, 0);
    EXPECT_EQ(begin / length, (end - 1) / length) << "a row crosses sequences";
    int32_t segment = segments[static_cast<size_t>(begin)];
    EXPECT_GT(segment, 0);
    int32_t step_row = dropout[static_cast<size_t>(begin)];
    for (int64_t t = begin; t < end; ++t) {
      size_t i = static_cast<size_t>(t);
      EXPECT_EQ(ids[i], tokens[static_cast<size_t>(t - begin)]);
      EXPECT_EQ(positions[i], t - begin);
      EXPECT_EQ(segments[i], segment);
      EXPECT_EQ(dropout[i], step_row);
    }
    if (begin % length != 0) {
      EXPECT_EQ(segments[static_cast<size_t>(begin - 1)], segment - 1);
    }
    if (end % length != 0) {
      EXPECT_NE(segments[static_cast<size_t>(end)], segment);
    }
    EXPECT_TRUE(dropout_rows.emplace(step_row, row).second) << "two rows of a step share a dropout row";
  }
}

struct Case {
  std::string name;
  BatchOptions options;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (Batching batching : {Batching::kPadded, Batching::kBucketed, Batching::kPacked})
    for (Swap swap : {Swap::kNone, Swap::kRandom, Swap::kBoth})
      for (int64_t accumulation : {1, 3})
        for (bool training : {true, false})
          for (int64_t multiple : {1, 4}) {
            Case c;
            c.name = fmt::format("batching{}_swap{}_ga{}_{}_m{}", static_cast<int>(batching), static_cast<int>(swap),
                                 accumulation, training ? "training" : "evaluation", multiple);
            c.options = {.batching = batching,
                         .batch_size = 6,
                         .gradient_accumulation = accumulation,
                         .max_length = kMaxLength,
                         .bucket_multiple = 8,
                         .swap = swap,
                         .seed = 5,
                         .shuffle = training,
                         .drop_last = training,
                         .sort_by_length = accumulation == 3,
                         .sequence_multiple = multiple};
            out.push_back(c);
          }
  return out;
}

class Batches : public testing::TestWithParam<Case> {};

TEST_P(Batches, EveryRowOnceAnEpochAndNothingMixed) {
  const BatchOptions& options = GetParam().options;
  Batcher batcher(made_dataset(101, true), options);
  const int64_t per_row = options.swap == Swap::kBoth ? 2 : 1;
  const int64_t per_step = batcher.rows_per_step();
  const int64_t items = 101 * per_row;
  EXPECT_EQ(batcher.steps_per_epoch(), options.drop_last ? items / per_step : (items + per_step - 1) / per_step);
  PaddingWaste waste;
  std::map<std::pair<int64_t, bool>, int> seen;
  for (int64_t s = 0; s < batcher.steps_per_epoch(); ++s) {
    StepBatches step = batcher.step(s);
    std::map<std::pair<int64_t, bool>, int> seen_here;
    std::map<int32_t, int64_t> dropout_rows;
    int64_t rows = 0;
    for (const Batch& batch : step.micro) {
      check_batch(batcher, batch, seen_here, dropout_rows);
      rows += batch.num_rows;
      waste.tokens += batch.num_tokens;
      waste.real_tokens += batch.num_real_tokens;
      EXPECT_GT(batch.num_rows, 0);
    }
    EXPECT_EQ(rows, step.num_rows);
    if (options.drop_last || s + 1 < batcher.steps_per_epoch()) {
      EXPECT_EQ(rows, per_step);
    }
    EXPECT_EQ(dropout_rows.begin()->first, 0);
    EXPECT_EQ(dropout_rows.rbegin()->first, static_cast<int32_t>(rows - 1));
    for (auto [key, count] : seen_here) {
      seen[key] += count;
      if (options.swap == Swap::kBoth) {
        EXPECT_TRUE(seen_here.contains({key.first, !key.second})) << "a pair is torn";
      }
    }
  }
  std::map<int64_t, int> by_row;
  for (auto [key, count] : seen) {
    EXPECT_EQ(count, 1);
    ++by_row[key.first];
  }
  for (auto [row, count] : by_row) EXPECT_EQ(count, per_row);
  int64_t expected_rows = options.drop_last ? batcher.steps_per_epoch() * per_step / per_row : 101;
  EXPECT_EQ(static_cast<int64_t>(by_row.size()), expected_rows);
  EXPECT_EQ(batcher.waste(0).tokens, waste.tokens);
  EXPECT_EQ(batcher.waste(0).real_tokens, waste.real_tokens);
}

TEST_P(Batches, AreAFunctionOfSeedAndStep) {
  BatchOptions options = GetParam().options;
  auto dataset = made_dataset(101, true);
  Batcher one(dataset, options), two(dataset, options);
  auto ids = [](const Batcher& batcher, int64_t step) {
    std::vector<int32_t> out;
    for (const Batch& batch : batcher.step(step).micro) {
      auto span = batch.input_ids.as<int32_t>();
      out.insert(out.end(), span.begin(), span.end());
    }
    return out;
  };
  const int64_t steps = 2 * one.steps_per_epoch();
  std::vector<std::vector<int32_t>> forward;
  for (int64_t s = 0; s < steps; ++s) forward.push_back(ids(one, s));
  for (int64_t s = steps - 1; s >= 0; --s) EXPECT_EQ(ids(two, s), forward[static_cast<size_t>(s)]);
  if (!options.shuffle) return;
  EXPECT_NE(forward[0], forward[static_cast<size_t>(one.steps_per_epoch())]) << "epochs repeat";
  options.seed = 6;
  EXPECT_NE(ids(Batcher(dataset, options), 0), forward[0]);
}

INSTANTIATE_TEST_SUITE_P(All, Batches, testing::ValuesIn(cases()), [](const auto& info) { return info.param.name; });

TEST(Batcher, TheSameRowsWhateverTheBatchingAndAccumulation) {
  // Padded and packed steps hold the same rows with the same dropout rows; so do 4 micro-batches of 3 and one
  // of 12.
  auto dataset = made_dataset(100, false);
  auto rows_of = [&](Batching batching, int64_t batch_size, int64_t accumulation, bool one_sequence = false) {
    Batcher batcher(dataset, {.batching = batching,
                              .batch_size = batch_size,
                              .gradient_accumulation = accumulation,
                              .max_length = kMaxLength,
                              .one_sequence = one_sequence,
                              .seed = 3});
    std::map<int64_t, int32_t> out;
    for (const Batch& batch : batcher.step(4).micro)
      for (size_t r = 0; r < batch.row_indices.size(); ++r)
        out[batch.row_indices[r]] =
            batch.dropout_rows.as<int32_t>()[static_cast<size_t>(batch.last_index.as<int32_t>()[r])];
    return out;
  };
  auto expected = rows_of(Batching::kPadded, 12, 1);
  EXPECT_EQ(expected.size(), 12u);
  EXPECT_EQ(rows_of(Batching::kPadded, 3, 4), expected);
  for (bool one_sequence : {false, true}) {
    EXPECT_EQ(rows_of(Batching::kPacked, 12, 1, one_sequence), expected);
    EXPECT_EQ(rows_of(Batching::kPacked, 3, 4, one_sequence), expected);
  }
}

TEST(Batcher, RowsOfTwoTextsHaveBothInOneMicroBatch) {
  const auto dataset = made_dataset(61, true);
  for (Batching batching : {Batching::kPadded, Batching::kBucketed, Batching::kPacked})
    for (bool one_sequence : {false, true})
      for (bool shuffle : {true, false}) {
        if (one_sequence && batching != Batching::kPacked) continue;
        Batcher batcher(dataset, {.texts_per_row = 2,
                                  .batching = batching,
                                  .batch_size = 3,
                                  .gradient_accumulation = 2,
                                  .max_length = kMaxLength,
                                  .one_sequence = one_sequence,
                                  .balance = true,
                                  .seed = 5,
                                  .shuffle = shuffle,
                                  .drop_last = shuffle,
                                  .sort_by_length = !shuffle});
        const auto shapes = batcher.shapes();
        std::set<int64_t> seen;
        for (int64_t step = 0; step < batcher.steps_per_epoch(); ++step) {
          std::set<int32_t> masks;  // of a step's texts
          for (const Batch& batch : batcher.step(step).micro) {
            const BatchShape shape{batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.weights.size()};
            EXPECT_NE(std::find(shapes.begin(), shapes.end(), shape), shapes.end()) << "a shape that was not announced";
            ASSERT_EQ(batch.last_index.size(), 2 * batch.weights.size());
            auto ids = batch.input_ids.as<int32_t>();
            for (size_t r = 0; r < batch.row_indices.size(); ++r) {
              EXPECT_TRUE(seen.insert(batch.row_indices[r]).second);
              EXPECT_EQ(batch.labels.as<float>()[3 * r], dataset.label(batch.row_indices[r])[0]);
              for (size_t second : {0u, 1u}) {
                const auto end = static_cast<size_t>(batch.last_index.as<int32_t>()[2 * r + second]) + 1;
                const auto tokens = dataset.tokens(batch.row_indices[r], second == 1);
                ASSERT_GE(end, tokens.size());
                EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(),
                                       ids.begin() + static_cast<std::ptrdiff_t>(end - tokens.size())));
                EXPECT_EQ(batch.positions.as<int32_t>()[end - tokens.size()], 0);
                EXPECT_TRUE(masks.insert(batch.dropout_rows.as<int32_t>()[end - 1]).second);
              }
            }
          }
        }
        EXPECT_EQ(seen.size(), shuffle ? 60u : 61u);
      }
  EXPECT_THROW(Batcher(dataset, {.texts_per_row = 2, .max_length = kMaxLength, .swap = Swap::kRandom}), Error);
  EXPECT_THROW(Batcher(made_dataset(61, false), {.texts_per_row = 2, .max_length = kMaxLength}), Error);
}

/** Rows whose two texts begin with the same tokens: with all of one of them in every seventh row, with none in every fifth. */
TokenizedDataset dataset_with_prefixes(int64_t rows) {
  TokenizeOptions options;
  options.max_length = kMaxLength;
  options.with_swapped = true;
  DatasetBuilder builder(options, byte_encoder());
  Random random(9);
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<int32_t> first;
    const auto prefix = row % 5 == 4 ? 0 : 1 + random.below(20);
    for (uint64_t t = 0; t < prefix; ++t)
      first.push_back(static_cast<int32_t>(1000 * (row + 1) + static_cast<int64_t>(t)));
    std::vector<int32_t> second = first;
    const uint64_t own = row % 7 == 6 && prefix > 0 ? 0 : 1 + random.below(40);
    for (uint64_t t = 0; t < own; ++t)
      first.push_back(static_cast<int32_t>(1000 * (row + 1) + 100 + static_cast<int64_t>(t)));
    for (uint64_t t = 0; t < 1 + random.below(40); ++t)
      second.push_back(static_cast<int32_t>(1000 * (row + 1) + 500 + static_cast<int64_t>(t)));
    builder.add_tokens(first, {1, 0, 0}, second);
  }
  return builder.finish();
}

/** A text as attention sees it from its last token: the tokens before it of its segment and of the prefix's, in order. */
std::vector<int32_t> text_seen(const Batch& batch, int64_t end) {
  const int64_t length = batch.input_ids.shape()[1], begin = end / length * length;
  auto segments = batch.segment_ids.as<int32_t>();
  const int32_t own = segments[static_cast<size_t>(end)];
  std::vector<int32_t> out;
  for (int64_t i = begin; i <= end; ++i) {
    const auto at = static_cast<size_t>(i);
    if (segments[at] != own && segments[at] != own / 4 * 4) continue;
    EXPECT_EQ(batch.positions.as<int32_t>()[at], static_cast<int32_t>(out.size()));
    out.push_back(batch.input_ids.as<int32_t>()[at]);
  }
  return out;
}

TEST(Batcher, TextsOfARowHoldTheirBeginningOnce) {
  const auto dataset = dataset_with_prefixes(60);
  for (bool one_sequence : {false, true}) {
    Batcher batcher(dataset, {.texts_per_row = 2,
                              .share_prefixes = true,
                              .batching = Batching::kPacked,
                              .batch_size = 4,
                              .gradient_accumulation = 2,
                              .max_length = kMaxLength,
                              .one_sequence = one_sequence,
                              .balance = true,
                              .drop_last = false});
    int64_t real = 0, apart = 0, saved = 0;
    std::set<int64_t> seen;
    for (int64_t step = 0; step < batcher.steps_per_epoch(); ++step)
      for (const Batch& batch : batcher.step(step).micro) {
        const auto shapes = batcher.shapes();
        const BatchShape shape{batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.weights.size()};
        EXPECT_NE(std::find(shapes.begin(), shapes.end(), shape), shapes.end());
        int64_t used = 0;
        for (int32_t segment : batch.segment_ids.as<int32_t>()) used += segment != 0 ? 1 : 0;
        EXPECT_EQ(used, batch.num_real_tokens);
        real += used;
        for (size_t r = 0; r < batch.row_indices.size(); ++r) {
          const int64_t row = batch.row_indices[r];
          EXPECT_TRUE(seen.insert(row).second);
          for (size_t second : {0u, 1u}) {
            const auto tokens = dataset.tokens(row, second == 1);
            const int64_t last = batch.last_index.as<int32_t>()[2 * r + second];
            EXPECT_THAT(text_seen(batch, last), testing::ElementsAreArray(tokens)) << "row " << row;
            apart += static_cast<int64_t>(tokens.size());
          }
          const bool fits = dataset.length(row) + dataset.length(row, true) - batcher.prefix(row) <= kMaxLength;
          if (one_sequence || fits) saved += batcher.prefix(row);
        }
      }
    EXPECT_EQ(seen.size(), 60u);
    EXPECT_EQ(real, apart - saved);
    EXPECT_GT(saved, 200);
    if (one_sequence) {
      EXPECT_NEAR(batcher.shared(), static_cast<double>(saved) / static_cast<double>(apart), 1e-12);
    }
  }
}

TEST(Batcher, TheHeadReadsTheRightmostTokenThatIsNoPad) {
  TokenizeOptions options;
  options.max_length = 8;
  TextEncoder encoder = byte_encoder();
  encoder.pad_id = 7;
  auto last_of = [&](Batching batching) {
    DatasetBuilder builder(options, encoder);
    builder.add_tokens({5, 7, 6, 7, 7}, {1, 0, 0});  // pads inside and at the end
    builder.add_tokens({7, 7, 7}, {1, 0, 0});        // pads alone
    builder.add_tokens({7, 4}, {1, 0, 0});
    Batcher batcher(builder.finish(), {.batching = batching, .batch_size = 3, .max_length = 8, .shuffle = false});
    Batch batch = batcher.step(0).micro.at(0);
    std::map<int64_t, int32_t> out;
    for (size_t r = 0; r < 3; ++r) {
      size_t at = static_cast<size_t>(batch.last_index.as<int32_t>()[r]);
      out[batch.row_indices[r]] = batch.positions.as<int32_t>()[at];
    }
    return out;
  };
  std::map<int64_t, int32_t> expected = {{0, 2}, {1, 0}, {2, 1}};
  EXPECT_EQ(last_of(Batching::kPadded), expected);
  EXPECT_EQ(last_of(Batching::kPacked), expected);
  encoder.pad_id = -1;
  expected = {{0, 4}, {1, 2}, {2, 1}};
  EXPECT_EQ(last_of(Batching::kPacked), expected);
}

TEST(Batcher, TheOriginDropsTheFilesLastRows) {
  Batcher batcher(made_dataset(21, false), {.batch_size = 8, .max_length = kMaxLength, .drop_before_shuffle = true});
  for (int64_t s = 0; s < 4; ++s) {
    StepBatches step = batcher.step(s);
    for (int64_t row : step.micro.at(0).row_indices) EXPECT_LT(row, 16);
  }
}

TEST(Batcher, RandomSwapsAreAboutHalfAndChangeWithTheEpoch) {
  Batcher batcher(made_dataset(400, true), {.batch_size = 400, .max_length = kMaxLength, .swap = Swap::kRandom});
  std::map<int64_t, int> first, second;
  for (auto [epoch, out] : {std::pair{0, &first}, std::pair{1, &second}}) {
    Batch batch = batcher.step(epoch).micro.at(0);
    for (size_t r = 0; r < 400; ++r) (*out)[batch.row_indices[r]] = batch.swapped[r];
  }
  int swaps = 0, changed = 0;
  for (auto [row, swap] : first) {
    swaps += swap;
    changed += swap != second[row];
  }
  EXPECT_NEAR(swaps, 200, 50);
  EXPECT_NEAR(changed, 200, 50);
}

TEST(Batcher, PackingAndBucketsSavePadding) {
  auto dataset = made_dataset(600, false);
  auto waste = [&](Batching batching) {
    return Batcher(dataset, {.batching = batching, .batch_size = 16, .max_length = kMaxLength, .bucket_multiple = 8})
        .waste();
  };
  EXPECT_GT(waste(Batching::kPadded).wasted(), 0.6);
  EXPECT_LT(waste(Batching::kBucketed).wasted(), 0.3);
  EXPECT_LT(waste(Batching::kPacked).wasted(), 0.25);
}

TEST(Batcher, JoinedRowsWasteLittleAndBalancedOnesLeast) {
  auto dataset = made_dataset(600, false);
  BatchOptions options = {.batching = Batching::kPacked,
                          .batch_size = 16,
                          .max_length = kMaxLength,
                          .bucket_multiple = 8,
                          .one_sequence = true};
  Batcher joined(dataset, options);
  options.balance = true;
  Batcher balanced(dataset, options);
  EXPECT_LT(joined.waste().wasted(), 0.08);
  EXPECT_LT(balanced.waste().wasted(), 0.03);
  EXPECT_LE(joined.epoch_shapes(0, 1000).size(), 9u);
  EXPECT_LT(balanced.epoch_shapes(0, 1000).size(), joined.epoch_shapes(0, 1000).size());
  EXPECT_EQ(joined.epoch_shapes(0, 1).size(), 1u);
  std::set<int64_t> rows;
  for (int64_t s = 0; s < balanced.steps_per_epoch(); ++s)
    for (const Batch& batch : balanced.step(s).micro) rows.insert(batch.row_indices.begin(), batch.row_indices.end());
  EXPECT_EQ(rows.size(), static_cast<size_t>(balanced.steps_per_epoch() * 16));
}

TEST(Batcher, OptionsThatDoNotFitAreErrors) {
  auto dataset = made_dataset(10, false);
  auto error = [&](BatchOptions options) { return error_of([&] { Batcher(dataset, options); }); };
  EXPECT_THAT(error({.batch_size = 16, .max_length = kMaxLength}), HasSubstr("less than one step"));
  EXPECT_THAT(error({.batch_size = 0}), HasSubstr("train.batch_size"));
  EXPECT_THAT(error({.batch_size = 2, .max_length = 4}), HasSubstr("data.max_length: 4, but a row has"));
  EXPECT_THAT(error({.batch_size = 2, .one_sequence = true, .sequence_multiple = 4}),
              HasSubstr("split over 4 devices"));
  EXPECT_THAT(error({.batch_size = 2, .swap = Swap::kBoth}), HasSubstr("without their exchanges"));
  auto both = made_dataset(10, true);
  EXPECT_THAT(error_of([&] { Batcher(both, {.batch_size = 3, .swap = Swap::kBoth}); }), HasSubstr("even number"));
}

TEST(Packing, FillsBinsAndKeepsEveryItem) {
  Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int64_t> lengths;
    int64_t total = 0;
    for (uint64_t n = 1 + random.below(60); n > 0; --n)
      total += lengths.emplace_back(1 + static_cast<int64_t>(random.below(100)));
    auto bins = pack(lengths, 100);
    std::set<int64_t> seen;
    for (const auto& bin : bins) {
      int64_t sum = 0;
      for (int64_t item : bin) {
        EXPECT_TRUE(seen.insert(item).second);
        sum += lengths[static_cast<size_t>(item)];
      }
      EXPECT_LE(sum, 100);
    }
    EXPECT_EQ(seen.size(), lengths.size());
    // Best fit decreasing needs at most 11/9 of the best number of bins, and one more.
    EXPECT_LE(static_cast<int64_t>(bins.size()) * 9, ((total + 99) / 100) * 11 * 3 / 2 + 9);
  }
  EXPECT_THAT(error_of([] { pack(std::vector<int64_t>{5}, 4); }), HasSubstr("does not fit"));
}

TEST(Packing, SizesAreTheBestThereAre) {
  Random random(12);
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<int64_t> values;
    for (int i = 0; i < 40; ++i) values.push_back(1 + static_cast<int64_t>(random.below(60)));
    auto cost = [&](const std::vector<int64_t>& sizes) {
      int64_t sum = 0;
      for (int64_t value : values) sum += fitting_size(sizes, value);
      return sum;
    };
    auto sizes = choose_sizes(values, 8, 60, 3);
    EXPECT_LE(sizes.size(), 3u);
    EXPECT_EQ(sizes.back(), 60);
    for (size_t i = 0; i + 1 < sizes.size(); ++i) EXPECT_EQ(sizes[i] % 8, 0);
    int64_t best = cost({60});
    for (int64_t a = 8; a < 60; a += 8)
      for (int64_t b = a; b < 60; b += 8) best = std::min(best, cost({a, b, 60}));
    EXPECT_EQ(cost(sizes), best);
  }
}

}  // namespace
}  // namespace gavel
