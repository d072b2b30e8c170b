#include "data/batcher.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "base/error.h"
#include "base/parallel.h"
#include "base/random.h"
#include "base/segments.h"
#include "data/packing.h"

namespace gavel {

namespace {

// Streams of the run's seed.
constexpr uint64_t kOrderStream = 0x6f72646572;  // "order"
constexpr uint64_t kSwapStream = 0x73776170;     // "swap"
constexpr uint64_t kBatchStream = 0x6261746368;  // "batch"
constexpr uint64_t kRiseStream = 0x72697365;     // "rise"
// Steps whose rows are sorted by length together: more saves padding, fewer keeps the order more random.
constexpr int64_t kStepsPerSort = 32;
// With a curriculum such stretches are at most this part of the epoch, so that it stays one.
constexpr size_t kRisingStretches = 8;
constexpr double kFirstCompetence = 0.01;

uint64_t stream_key(uint64_t seed, uint64_t stream, int64_t epoch) {
  return mix64(mix64(seed ^ mix64(stream)) ^ static_cast<uint64_t>(epoch));
}

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t common_beginning(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

Batcher::Batcher(TokenizedDataset dataset, BatchOptions options) : dataset_(std::move(dataset)), options_(options) {
  auto positive = [](std::string_view name, int64_t value) {
    if (value < 1) fail("{}: expected at least 1, found {}", name, value);
  };
  positive("train.batch_size", options_.batch_size);
  positive("train.gradient_accumulation", options_.gradient_accumulation);
  positive("data.max_length", options_.max_length);
  positive("data.bucket_multiple", options_.bucket_multiple);
  positive("data.max_buckets", options_.max_buckets);
  positive("data.max_packed_sizes", options_.max_packed_sizes);
  positive("mesh: dp * fsdp", options_.sequence_multiple);
  if (options_.one_sequence && options_.sequence_multiple != 1)
    fail("Batcher: one sequence can't be split over {} devices", options_.sequence_multiple);
  if (options_.pad_to < 0) fail("data.pad_to: expected 0 or more, found {}", options_.pad_to);
  const int64_t rows = dataset_.num_rows();
  if (rows == 0) fail("Batcher: the dataset has no rows");
  if (options_.texts_per_row != 1 && (options_.texts_per_row != 2 || options_.swap != Swap::kNone))
    fail("data.swap: a row of two texts has no exchange; set data.swap=none");
  if ((options_.swap != Swap::kNone || options_.texts_per_row == 2) && !dataset_.has_swapped())
    fail("data.swap: the rows were tokenized without their exchanges");
  const bool pairs = options_.swap == Swap::kBoth;
  if (pairs && rows_per_step() % 2 != 0)
    fail(
        "data.swap: 'both' needs an even number of rows in a step, found batch_size {} x "
        "gradient_accumulation {}",
        options_.batch_size, options_.gradient_accumulation);
  const bool both_texts = options_.swap != Swap::kNone || options_.texts_per_row == 2;
  for (int64_t row = 0; row < rows; ++row) {
    longest_ = std::max(longest_, dataset_.length(row));
    if (both_texts) longest_ = std::max(longest_, dataset_.length(row, true));
  }
  if (longest_ > options_.max_length)
    fail("data.max_length: {}, but a row has {} tokens: tokenize with the same max_length", options_.max_length,
         longest_);
  if (options_.share_prefixes && options_.texts_per_row == 2 && options_.batching == Batching::kPacked) {
    prefixes_.resize(static_cast<size_t>(rows));
    parallel_for(prefixes_.size(), 1024, 0, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        const auto number = static_cast<int64_t>(row);
        prefixes_[row] = static_cast<int32_t>(common_beginning(dataset_.tokens(number), dataset_.tokens(number, true)));
      }
    });
  }
  const int64_t items = pairs ? 2 * rows : rows;
  steps_ = options_.drop_last ? items / rows_per_step() : (items + rows_per_step() - 1) / rows_per_step();
  if (steps_ == 0)
    fail(
        "train.batch_size: {} rows are less than one step of {} ({} x {} gradient accumulation): lower "
        "batch_size, "
        "or give more rows",
        items, rows_per_step(), options_.batch_size, options_.gradient_accumulation);
  if (options_.batching == Batching::kBucketed && !options_.bucket_lengths.empty()) {
    sizes_ = options_.bucket_lengths;
    if (!std::is_sorted(sizes_.begin(), sizes_.end()) || sizes_.front() < 1 || sizes_.back() != options_.max_length)
      fail("Batcher: bucket_lengths must rise and end in max_length {}", options_.max_length);
  } else if (options_.batching == Batching::kBucketed) {
    std::vector<int64_t> lengths = dataset_.lengths();
    if (both_texts)
      for (int64_t row = 0; row < rows; ++row) lengths.push_back(dataset_.length(row, true));
    int64_t largest = std::min(round_up(longest_, options_.bucket_multiple), options_.max_length);
    sizes_ = choose_sizes(lengths, options_.bucket_multiple, largest, options_.max_buckets);
  } else if (options_.batching == Batching::kPacked && options_.one_sequence) {
    // The first epoch's lengths stand for all; the largest covers whatever comes and is seldom compiled.
    std::vector<int64_t> needed;
    each_usual_step([&](const std::vector<Item>& items) {
      for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(options_.batch_size))
        needed.push_back(total_length(items, begin));
    });
    int64_t largest = round_up(options_.batch_size * options_.texts_per_row * longest_, options_.bucket_multiple);
    sizes_ = choose_sizes(needed, options_.bucket_multiple, largest, options_.max_joined_lengths + 1);
  } else if (options_.batching == Batching::kPacked) {
    // The numbers that the first epoch needs stand for all; the largest covers whatever comes.
    std::vector<int64_t> needed;
    each_usual_step([&](const std::vector<Item>& items) {
      for (const Layout& layout : split_packed(items)) needed.push_back(static_cast<int64_t>(layout.sequences.size()));
    });
    int64_t largest = round_up(options_.batch_size * options_.texts_per_row, options_.sequence_multiple);
    sizes_ = choose_sizes(needed, options_.sequence_multiple, largest, options_.max_packed_sizes);
  }
}

void Batcher::each_usual_step(const std::function<void(const std::vector<Item>&)>& take) const {
  // Where the first epoch's rows rise in length, its steps are not like those to come.
  for (int64_t number = 0; number <= (rises(0) ? 1 : 0); ++number) {
    const auto plan = epoch(number);
    for (int64_t s = 0; s < steps_; ++s) take(step_items(*plan, s));
  }
}

std::shared_ptr<const Batcher::Epoch> Batcher::epoch(int64_t number) const {
  std::lock_guard lock(mutex_);
  if (last_epoch_ == nullptr || last_epoch_->number != number)
    last_epoch_ = std::make_shared<const Epoch>(Epoch{number, order_epoch(number)});
  return last_epoch_;
}

std::vector<Batcher::Item> Batcher::order_epoch(int64_t number) const {
  const bool pairs = options_.swap == Swap::kBoth;
  const size_t per_step = static_cast<size_t>(pairs ? rows_per_step() / 2 : rows_per_step());
  std::vector<int64_t> rows(static_cast<size_t>(dataset_.num_rows()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  if (options_.drop_last && options_.drop_before_shuffle) rows.resize(rows.size() / per_step * per_step);
  if (options_.shuffle) {
    Random random(stream_key(options_.seed, kOrderStream, number));
    shuffle(rows, random);
  } else if (options_.sort_by_length) {
    std::stable_sort(rows.begin(), rows.end(),
                     [&](int64_t a, int64_t b) { return dataset_.length(a) > dataset_.length(b); });
  }
  if (options_.drop_last) rows.resize(rows.size() / per_step * per_step);
  if (rises(number)) rows = rising_order(std::move(rows), per_step);
  const uint64_t swap_key = stream_key(options_.seed, kSwapStream, number);
  std::vector<Item> items;
  items.reserve(rows.size() * (pairs ? 2 : 1));
  for (int64_t row : rows) {
    bool swap = options_.swap == Swap::kRandom && (random_bits(swap_key, static_cast<uint64_t>(row)) & 1) != 0;
    items.push_back({row, swap});
    if (pairs) items.push_back({row, true});
  }
  if (options_.batching == Batching::kBucketed && options_.shuffle) group_by_length(items, number);
  if (options_.batching == Batching::kPacked && (options_.shuffle ? options_.balance : options_.sort_by_length))
    balance_steps(items, number);
  return items;
}

std::vector<int64_t> Batcher::rising_order(std::vector<int64_t> rows, size_t per_step) const {
  // Rows of one length stay in their random order.
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return length(Item{a}) < length(Item{b}); });
  const size_t count = rows.size();
  const auto total =
      static_cast<double>(options_.curriculum_steps > 0 ? std::min(options_.curriculum_steps, steps_) : steps_);
  Random random(stream_key(options_.seed, kRiseStream, 0));
  std::vector<int64_t> order, pool;  // pool: rows that may come now
  order.reserve(count);
  size_t known = 0;
  for (size_t step = 0; order.size() < count; ++step) {
    const double done = static_cast<double>(step) / total, first = kFirstCompetence * kFirstCompetence;
    const double competence = std::min(1.0, std::sqrt(first + (1 - first) * done));
    const auto share = static_cast<size_t>(std::ceil(competence * static_cast<double>(count)));
    const size_t end = std::min(count, order.size() + per_step);
    for (const size_t reach = std::min(count, std::max(share, end)); known < reach; ++known)
      pool.push_back(rows[known]);
    while (order.size() < end) {
      std::swap(pool[random.below(pool.size())], pool.back());
      order.push_back(pool.back());
      pool.pop_back();
    }
  }
  return order;
}

size_t Batcher::stretch_of(size_t steps, int64_t number) const {
  const auto usual = static_cast<size_t>(kStepsPerSort);
  return rises(number) ? std::clamp<size_t>(steps / kRisingStretches, 1, usual) : usual;
}

void Batcher::mix_steps(std::vector<std::vector<Item>>& steps, int64_t number) const {
  Random random(stream_key(options_.seed, kBatchStream, number));
  const size_t stretch = rises(number) ? stretch_of(steps.size(), number) : std::max<size_t>(steps.size(), 1);
  for (size_t first = 0; first < steps.size(); first += stretch) {
    std::span part(steps.data() + first, std::min(stretch, steps.size() - first));
    shuffle(part, random);
  }
}

/** Deals stretches of rows out so that steps hold like numbers of tokens: longest first, in each round one row to every
 * step, the longest of the round to the step that has least. Few sizes then fit all steps. Each stretch's steps are
 * shuffled among each other where rows are. */
void Batcher::balance_steps(std::vector<Item>& items, int64_t number) const {
  const size_t unit = options_.swap == Swap::kBoth ? 2 : 1;  // a pair stays together
  const size_t per_step = static_cast<size_t>(rows_per_step());
  const size_t whole = items.size() / per_step;
  std::vector<std::vector<Item>> steps(whole);
  const size_t stretch = options_.shuffle ? stretch_of(whole, number) : std::max<size_t>(whole, 1);
  for (size_t first = 0; first < whole; first += stretch) {
    const size_t count = std::min(stretch, whole - first);
    std::vector<size_t> units(count * per_step / unit);
    std::iota(units.begin(), units.end(), first * per_step / unit);
    auto size = [&](size_t u) {
      int64_t sum = 0;
      for (size_t k = 0; k < unit; ++k) sum += length(items[u * unit + k]);
      return sum;
    };
    std::stable_sort(units.begin(), units.end(), [&](size_t a, size_t b) { return size(a) > size(b); });
    std::vector<int64_t> totals(count, 0);
    for (size_t round = 0; round < units.size(); round += count) {
      std::vector<size_t> order(count);
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return totals[a] < totals[b]; });
      for (size_t i = 0; i < count; ++i) {
        const size_t u = units[round + i];
        totals[order[i]] += size(u);
        for (size_t k = 0; k < unit; ++k) steps[first + order[i]].push_back(items[u * unit + k]);
      }
    }
  }
  if (options_.shuffle) mix_steps(steps, number);
  size_t next = 0;
  for (const auto& step : steps)
    for (const Item& item : step) items[next++] = item;
}

/** Sorts stretches of shuffled rows by length, so that steps hold rows of like length, then shuffles the
 * steps. */
void Batcher::group_by_length(std::vector<Item>& items, int64_t number) const {
  const size_t unit = options_.swap == Swap::kBoth ? 2 : 1;  // a pair stays together
  const size_t per_step = static_cast<size_t>(rows_per_step());
  const size_t whole = items.size() / per_step;
  std::vector<std::vector<Item>> steps(whole);
  const size_t stretch = stretch_of(whole, number);
  for (size_t first = 0; first < whole; first += stretch) {
    const size_t count = std::min(stretch, whole - first);
    std::vector<size_t> units(count * per_step / unit);
    std::iota(units.begin(), units.end(), first * per_step / unit);
    std::stable_sort(units.begin(), units.end(),
                     [&](size_t a, size_t b) { return length(items[a * unit]) > length(items[b * unit]); });
    for (size_t i = 0; i < units.size(); ++i)
      for (size_t k = 0; k < unit; ++k) steps[first + i * unit / per_step].push_back(items[units[i] * unit + k]);
  }
  mix_steps(steps, number);
  size_t next = 0;
  for (const auto& step : steps)
    for (const Item& item : step) items[next++] = item;
}

std::vector<Batcher::Item> Batcher::step_items(const Epoch& epoch, int64_t step_in_epoch) const {
  const size_t per_step = static_cast<size_t>(rows_per_step());
  const size_t begin = static_cast<size_t>(step_in_epoch) * per_step;
  const size_t end = std::min(begin + per_step, epoch.items.size());
  std::vector<Item> items(epoch.items.begin() + static_cast<std::ptrdiff_t>(begin),
                          epoch.items.begin() + static_cast<std::ptrdiff_t>(end));
  for (size_t i = 0; i < items.size(); ++i) items[i].step_index = static_cast<int64_t>(i);
  return items;
}

int64_t Batcher::length(const Item& item) const {
  if (options_.texts_per_row == 1) return dataset_.length(item.row, item.swap);
  return dataset_.length(item.row, false) + dataset_.length(item.row, true) - prefix(item.row);
}

std::vector<Batcher::Layout> Batcher::split(const std::vector<Item>& items, int64_t rows) const {
  std::vector<Layout> layouts;
  for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(rows)) {
    const size_t end = std::min(begin + static_cast<size_t>(rows), items.size());
    layouts.emplace_back().rows.assign(items.begin() + static_cast<std::ptrdiff_t>(begin),
                                       items.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return layouts;
}

std::vector<Batcher::Text> Batcher::texts_of(const Layout& layout) const {
  std::vector<Text> texts;
  for (const Item& item : layout.rows) {
    if (options_.texts_per_row == 1) {
      texts.push_back({item, item.swap, texts.size()});
      continue;
    }
    for (bool second : {false, true}) texts.push_back({item, second, texts.size(), prefix(item.row)});
  }
  return texts;
}

std::vector<Batcher::Sequence> Batcher::units_of(const Layout& layout) const {
  std::vector<Sequence> units;
  for (const Text& text : texts_of(layout)) {
    const bool shares = text.prefix > 0 && length(text.item) <= options_.max_length;
    if (shares && text.second) {
      units.back().push_back(text);
    } else {
      units.push_back({text});
      if (!shares) units.back().front().prefix = 0;
    }
  }
  return units;
}

std::vector<Batcher::Layout> Batcher::lay_out(std::vector<Item> items) const {
  if (options_.batching == Batching::kPacked) return lay_out_packed(items);
  if (options_.batching == Batching::kBucketed)
    std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) { return length(a) > length(b); });
  const int64_t rows = round_up(options_.batch_size, options_.sequence_multiple);
  std::vector<Layout> layouts = split(items, options_.batch_size);
  for (Layout& layout : layouts) {
    int64_t longest = 1;
    for (const Text& text : texts_of(layout)) {
      layout.sequences.push_back({text});
      longest = std::max(longest, length(text));
    }
    int64_t padded = options_.batching == Batching::kBucketed ? fitting_size(sizes_, longest)
                     : options_.pad_to == 0 ? options_.max_length
                                            : std::min(round_up(longest, options_.pad_to), options_.max_length);
    layout.shape = {rows * options_.texts_per_row, padded, rows};
  }
  return layouts;
}

int64_t Batcher::total_length(const std::vector<Item>& items, size_t begin) const {
  int64_t total = 0;
  for (size_t i = begin; i < std::min(begin + static_cast<size_t>(options_.batch_size), items.size()); ++i)
    total += length(items[i]);
  return total;
}

std::vector<Batcher::Layout> Batcher::split_packed(const std::vector<Item>& items) const {
  // Rows of two texts are packed by micro-batches, since both have to be in the same one; others by the whole step.
  const bool by_rows = options_.texts_per_row == 2;
  std::vector<Layout> layouts;
  for (Layout& part : split(items, by_rows ? options_.batch_size : rows_per_step())) {
    const std::vector<Sequence> units = units_of(part);
    std::vector<int64_t> lengths;
    for (const Sequence& unit : units)
      lengths.push_back(std::accumulate(unit.begin(), unit.end(), int64_t{0},
                                        [&](int64_t sum, const Text& text) { return sum + length(text); }));
    const auto bins = pack(lengths, options_.max_length);
    if (by_rows) {
      for (const auto& bin : bins) {
        Sequence& sequence = part.sequences.emplace_back();
        for (int64_t i : bin) {
          const Sequence& unit = units[static_cast<size_t>(i)];
          sequence.insert(sequence.end(), unit.begin(), unit.end());
        }
      }
      layouts.push_back(std::move(part));
      continue;
    }
    for (size_t begin = 0; begin < bins.size(); begin += static_cast<size_t>(options_.batch_size)) {
      Layout& layout = layouts.emplace_back();
      const size_t end = std::min(begin + static_cast<size_t>(options_.batch_size), bins.size());
      for (size_t b = begin; b < end; ++b)
        for (int64_t i : bins[b]) layout.rows.push_back(units[static_cast<size_t>(i)].front().item);
      // In the order of the rows.
      const std::vector<Text> placed = texts_of(layout);
      auto next = placed.begin();
      for (size_t b = begin; b < end; ++b) {
        const auto count = static_cast<std::ptrdiff_t>(bins[b].size());
        layout.sequences.emplace_back(next, next + count);
        next += count;
      }
    }
  }
  return layouts;
}

std::vector<Batcher::Layout> Batcher::lay_out_packed(const std::vector<Item>& items) const {
  if (options_.one_sequence) {
    std::vector<Layout> layouts = split(items, options_.batch_size);
    for (size_t i = 0; i < layouts.size(); ++i) {
      layouts[i].sequences.push_back(texts_of(layouts[i]));
      const int64_t total = total_length(items, i * static_cast<size_t>(options_.batch_size));
      layouts[i].shape = {1, fitting_size(sizes_, total), options_.batch_size};
    }
    return layouts;
  }
  std::vector<Layout> layouts = split_packed(items);
  for (Layout& layout : layouts)
    layout.shape = {fitting_size(sizes_, static_cast<int64_t>(layout.sequences.size())), options_.max_length,
                    options_.texts_per_row == 2 ? options_.batch_size : rows_per_step()};
  return layouts;
}

Batch Batcher::build(const Layout& layout) const {
  const auto [sequences, length, rows] = layout.shape;
  Batch batch;
  batch.input_ids = HostTensor(DType::kI32, {sequences, length});
  batch.positions = HostTensor(DType::kI32, {sequences, length});
  batch.segment_ids = HostTensor(DType::kI32, {sequences, length});
  batch.dropout_rows = HostTensor(DType::kI32, {sequences, length});
  batch.last_index = HostTensor(DType::kI32, {rows * options_.texts_per_row});
  batch.labels = HostTensor(DType::kF32, {rows, options_.num_labels});
  batch.weights = HostTensor(DType::kF32, {rows});
  batch.margins = HostTensor(DType::kF32, {rows});
  const int64_t classes = dataset_.num_auxiliary_classes();
  std::span<float> auxiliary;
  if (classes > 0) {
    batch.auxiliary = HostTensor(DType::kF32, {rows * 2, classes});
    auxiliary = batch.auxiliary.as_mutable<float>();
  }
  batch.num_tokens = sequences * length;
  auto ids = batch.input_ids.as_mutable<int32_t>();
  auto positions = batch.positions.as_mutable<int32_t>();
  auto segments = batch.segment_ids.as_mutable<int32_t>();
  auto dropout_rows = batch.dropout_rows.as_mutable<int32_t>();
  auto last_index = batch.last_index.as_mutable<int32_t>();
  auto labels = batch.labels.as_mutable<float>();
  auto weights = batch.weights.as_mutable<float>(), margins = batch.margins.as_mutable<float>();
  const int32_t pad_id = dataset_.pad_id();
  std::fill(ids.begin(), ids.end(), std::max(pad_id, 0));
  for (size_t s = 0; s < layout.sequences.size(); ++s) {
    size_t at = s * static_cast<size_t>(length), first = at;  // first: of the text that a prefix stands with
    int32_t segment = 0, group = -1;
    for (const Text& text : layout.sequences[s]) {
      auto tokens = dataset_.tokens(text.item.row, text.second);
      // Another mask for each text: a row's second one follows its first.
      const int64_t number = text.item.step_index * options_.texts_per_row +
                             static_cast<int64_t>(text.place % static_cast<size_t>(options_.texts_per_row));
      const auto prefix = static_cast<size_t>(text.prefix);
      const bool follows = text.second && prefix > 0;  // the first text, and with it the prefix
      if (!follows) {
        first = at;
        ++group;
      }
      segment = prefixes_.empty() ? segment + 1 : prefix_of_group(group) + (follows ? 2 : 1);
      const size_t skipped = follows ? prefix : 0;
      size_t last = pad_id < 0 ? tokens.size() - 1 : 0;
      for (size_t t = 0; t < tokens.size(); ++t) {
        if (tokens[t] != pad_id) last = t;
        if (t < skipped) continue;
        const size_t place = at + t - skipped;
        ids[place] = tokens[t];
        positions[place] = static_cast<int32_t>(t);
        segments[place] = t < prefix ? prefix_of(segment) : segment;
        dropout_rows[place] = static_cast<int32_t>(number);
      }
      last_index[text.place] = static_cast<int32_t>(last < skipped ? first + last : at + last - skipped);
      batch.num_real_tokens += static_cast<int64_t>(tokens.size() - skipped);
      at += tokens.size() - skipped;
    }
  }
  const auto count = static_cast<size_t>(options_.num_labels);
  size_t row = 0;
  for (const Item& item : layout.rows) {
    auto label = dataset_.target(item.row, item.swap);
    if (options_.scores) label[0] = std::isnan(dataset_.score(item.row)) ? 0 : dataset_.score(item.row);
    std::copy_n(label.begin(), count, labels.begin() + static_cast<std::ptrdiff_t>(row * count));
    weights[row] = dataset_.weight(item.row);
    margins[row] = dataset_.margin(item.row);
    if (classes > 0)
      for (size_t answer : {0, 1})
        if (const int32_t found = dataset_.auxiliary_class(item.row, answer, item.swap); found >= 0)
          auxiliary[(row * 2 + answer) * static_cast<size_t>(classes) + static_cast<size_t>(found)] = 1;
    batch.row_indices.push_back(item.row);
    batch.swapped.push_back(item.swap ? 1 : 0);
    ++row;
  }
  batch.num_rows = static_cast<int64_t>(row);
  return batch;
}

StepBatches Batcher::step(int64_t step) const {
  if (step < 0) fail("Batcher: step {}", step);
  StepBatches out;
  auto plan = epoch(step / steps_);
  for (const Layout& layout : lay_out(step_items(*plan, step % steps_))) {
    out.micro.push_back(build(layout));
    out.num_rows += out.micro.back().num_rows;
    for (float weight : out.micro.back().weights.as<float>()) out.weight += weight;
  }
  return out;
}

std::vector<BatchShape> Batcher::shapes() const {
  const int64_t rows = round_up(options_.batch_size, options_.sequence_multiple), texts = options_.texts_per_row;
  std::vector<BatchShape> out;
  switch (options_.batching) {
    case Batching::kPadded:
      if (options_.pad_to == 0) return {{rows * texts, options_.max_length, rows}};
      for (int64_t length = options_.pad_to;; length += options_.pad_to) {
        out.push_back({rows * texts, std::min(length, options_.max_length), rows});
        if (length >= longest_) break;
      }
      break;
    case Batching::kBucketed:
      for (int64_t length : sizes_) out.push_back({rows * texts, length, rows});
      break;
    case Batching::kPacked:
      for (int64_t size : sizes_)
        out.push_back(options_.one_sequence
                          ? BatchShape{1, size, options_.batch_size}
                          : BatchShape{size, options_.max_length, texts == 2 ? options_.batch_size : rows_per_step()});
      break;
  }
  return out;
}

std::vector<BatchShape> Batcher::epoch_shapes(int64_t number, int64_t steps) const {
  std::vector<BatchShape> out;
  auto plan = epoch(number);
  for (int64_t s = 0; s < std::min(steps, steps_); ++s)
    for (const Layout& layout : lay_out(step_items(*plan, s)))
      if (std::find(out.begin(), out.end(), layout.shape) == out.end()) out.push_back(layout.shape);
  return out;
}

double Batcher::shared() const {
  int64_t all = 0, saved = 0;
  for (int64_t row = 0; row < static_cast<int64_t>(prefixes_.size()); ++row) {
    all += dataset_.length(row) + dataset_.length(row, true);
    saved += prefix(row);
  }
  return all == 0 ? 0 : static_cast<double>(saved) / static_cast<double>(all);
}

PaddingWaste Batcher::waste(int64_t number) const {
  PaddingWaste waste;
  auto plan = epoch(number);
  for (int64_t s = 0; s < steps_; ++s) {
    for (const Layout& layout : lay_out(step_items(*plan, s))) {
      waste.tokens += layout.shape.sequences * layout.shape.length;
      ++waste.micro_batches;
      for (const Sequence& sequence : layout.sequences)
        for (const Text& text : sequence) waste.real_tokens += length(text);
    }
  }
  return waste;
}

}  // namespace gavel
