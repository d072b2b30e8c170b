#include "data/dataset.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"

namespace gavel {

TokenizedDataset::TokenizedDataset(DatasetParts parts)
    : parts_(std::make_shared<const DatasetParts>(std::move(parts))) {}

size_t TokenizedDataset::at(int64_t row) const {
  if (row < 0 || row >= num_rows()) fail("TokenizedDataset: row {} of {}", row, num_rows());
  return static_cast<size_t>(index_ == nullptr ? row : (*index_)[static_cast<size_t>(row)]);
}

int64_t TokenizedDataset::num_rows() const {
  return static_cast<int64_t>(index_ == nullptr ? parts_->labels.size() : index_->size());
}

std::span<const int32_t> TokenizedDataset::tokens(int64_t row, bool swap) const {
  size_t text = at(row) * static_cast<size_t>(parts_->variants) + (swap ? 1 : 0);
  if (swap && !has_swapped()) fail("TokenizedDataset: tokenized without the A/B exchanges that are asked for");
  int64_t begin = parts_->offsets[text];
  return parts_->tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(parts_->offsets[text + 1] - begin));
}

int64_t TokenizedDataset::length(int64_t row, bool swap) const {
  return static_cast<int64_t>(tokens(row, swap).size());
}

int64_t TokenizedDataset::full_length(int64_t row) const {
  return parts_->full_lengths[at(row)];
}

float TokenizedDataset::weight(int64_t row) const {
  const float own = parts_->weights[at(row)];
  return file_weights_ == nullptr ? own : own * file_weights_->at(source(row).first);
}

float TokenizedDataset::margin(int64_t row) const {
  return parts_->margins[at(row)];
}

float TokenizedDataset::score(int64_t row) const {
  return parts_->scores[at(row)];
}

int64_t TokenizedDataset::source_row(int64_t row) const {
  return parts_->source_rows[at(row)];
}

std::pair<size_t, int64_t> TokenizedDataset::source(int64_t row) const {
  const int64_t number = source_row(row);
  const auto& before = parts_->rows_before;
  const auto file = std::lower_bound(before.begin(), before.end(), number);
  if (file == before.begin()) return {0, number};
  return {static_cast<size_t>(file - before.begin()) - 1, number - *(file - 1)};
}

std::array<float, 3> TokenizedDataset::label(int64_t row, bool swap) const {
  auto label = parts_->labels[at(row)];
  if (swap) std::swap(label[0], label[1]);
  return label;
}

bool TokenizedDataset::has_teacher(int64_t row) const {
  const size_t place = at(row);
  return place < parts_->teachers.size() && parts_->teachers[place] != std::array<float, 3>{};
}

std::array<float, 3> TokenizedDataset::target(int64_t row, bool swap) const {
  auto target = parts_->labels[at(row)];
  if (teacher_weight_ && has_teacher(row)) {
    const auto& teacher = parts_->teachers[at(row)];
    const double part = target == std::array<float, 3>{} ? 1 : *teacher_weight_;
    for (size_t i = 0; i < 3; ++i) target[i] = static_cast<float>((1 - part) * target[i] + part * teacher[i]);
  }
  if (swap) std::swap(target[0], target[1]);
  return target;
}

int64_t TokenizedDataset::num_auxiliary_classes() const {
  return auxiliary_ == nullptr ? 0 : static_cast<int64_t>(auxiliary_->names.size());
}

int32_t TokenizedDataset::auxiliary_value(int64_t row, size_t answer) const {
  const size_t place = at(row);
  return place < parts_->auxiliary.size() ? parts_->auxiliary[place].at(answer) : -1;
}

int32_t TokenizedDataset::auxiliary_class(int64_t row, size_t answer, bool swap) const {
  const int32_t value = auxiliary_value(row, swap ? 1 - answer : answer);
  return value < 0 || auxiliary_ == nullptr ? -1 : auxiliary_->class_of.at(static_cast<size_t>(value));
}

std::vector<int64_t> TokenizedDataset::lengths() const {
  std::vector<int64_t> out;
  for (int64_t row = 0; row < num_rows(); ++row) out.push_back(length(row));
  return out;
}

std::vector<int64_t> TokenizedDataset::full_lengths() const {
  std::vector<int64_t> out;
  for (int64_t row = 0; row < num_rows(); ++row) out.push_back(full_length(row));
  return out;
}

TokenizedDataset TokenizedDataset::with_file_weights(std::vector<float> factors) const {
  TokenizedDataset out = *this;
  if (std::any_of(factors.begin(), factors.end(), [](float factor) { return factor != 1; }))
    out.file_weights_ = std::make_shared<const std::vector<float>>(std::move(factors));
  return out;
}

TokenizedDataset TokenizedDataset::with_teacher(double weight) const {
  TokenizedDataset out = *this;
  out.teacher_weight_ = weight;
  return out;
}

TokenizedDataset TokenizedDataset::with_auxiliary(AuxiliaryClasses classes) const {
  TokenizedDataset out = *this;
  out.auxiliary_ = std::make_shared<const AuxiliaryClasses>(std::move(classes));
  return out;
}

AuxiliaryClasses choose_auxiliary_classes(const TokenizedDataset& rows, int64_t least, int64_t most) {
  const std::vector<std::string>& values = rows.auxiliary_values();
  std::vector<int64_t> counts(values.size());
  for (int64_t row = 0; row < rows.num_rows(); ++row)
    for (size_t answer : {0, 1})
      if (const int32_t value = rows.auxiliary_value(row, answer); value >= 0) ++counts[static_cast<size_t>(value)];
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return counts[a] != counts[b] ? counts[a] > counts[b] : values[a] < values[b]; });
  size_t own = 0, there = 0;  // values with a class of their own, and those that occur
  while (there < order.size() && counts[order[there]] > 0) ++there;
  while (own < there && counts[order[own]] >= least) ++own;
  const bool rest = own < there || own > static_cast<size_t>(most);
  own = std::min(own, static_cast<size_t>(rest ? most - 1 : most));
  AuxiliaryClasses out;
  out.class_of.assign(values.size(), rest ? static_cast<int32_t>(own) : -1);
  for (size_t i = 0; i < own; ++i) {
    out.class_of[order[i]] = static_cast<int32_t>(i);
    out.names.push_back(values[order[i]]);
  }
  if (rest) out.names.emplace_back("other");
  if (out.names.size() < 2)
    fail(
        "data.columns.auxiliary: expected two classes or more in the training rows, found {} values, {} of which have "
        "{} "
        "answers or more: name other columns, or leave it out",
        there, own, least);
  return out;
}

TokenizedDataset TokenizedDataset::subset(std::span<const int64_t> rows) const {
  std::vector<int64_t> index;
  index.reserve(rows.size());
  for (int64_t row : rows) index.push_back(static_cast<int64_t>(at(row)));
  TokenizedDataset out = *this;
  out.index_ = std::make_shared<const std::vector<int64_t>>(std::move(index));
  return out;
}

DatasetBuilder::DatasetBuilder(TokenizeOptions options, const TextEncoder& encoder, TokenSink sink)
    : options_(std::move(options)), encoder_(encoder), sink_(std::move(sink)) {
  parts_.variants = options_.with_swapped ? 2 : 1;
  parts_.pad_id = encoder_.pad_id;
}

void DatasetBuilder::add(std::span<const PreferenceRow> rows) {
  constexpr size_t kBlock = 4096;  // rows in flight
  const TokenizeShare& share = options_.share;
  std::vector<EncodedRow> block;
  for (size_t start = 0; start < rows.size(); start += kBlock) {
    auto part = rows.subspan(start, std::min(kBlock, rows.size() - start));
    block.assign(part.size(), EncodedRow());
    auto part_of = [&](int64_t process) {
      auto rows_here = static_cast<int64_t>(part.size());
      auto first = static_cast<size_t>(share.first(process, rows_here));
      return std::span(block).subspan(first, static_cast<size_t>(share.first(process + 1, rows_here)) - first);
    };
    const std::span<EncodedRow> own = part_of(share.index);
    const auto own_first = static_cast<size_t>(own.data() - block.data());
    parallel_for(own.size(), 16, options_.threads, [&](size_t begin, size_t end) {
      for (size_t i = own_first + begin; i < own_first + end; ++i) {
        block[i].text = options_.encode(part[i], false, options_, encoder_);
        if (options_.with_swapped) block[i].swapped = options_.encode(part[i], true, options_, encoder_);
      }
    });
    if (share.count > 1) {
      std::vector<std::string> all = share.exchange(pack_rows(own));
      for (int64_t process = 0; process < share.count; ++process)
        if (process != share.index) unpack_rows(all.at(static_cast<size_t>(process)), part_of(process));
    }
    for (size_t i = 0; i < part.size(); ++i) {
      add_tokens(std::move(block[i].text.ids), part[i].has_label ? part[i].label : std::array<float, 3>{},
                 std::move(block[i].swapped.ids));
      parts_.weights.back() = part[i].weight;
      parts_.margins.back() = part[i].margin;
      parts_.scores.back() = part[i].score;
      parts_.source_rows.back() = part[i].source_row + (parts_.rows_before.empty() ? 0 : parts_.rows_before.back());
      parts_.full_lengths.back() = block[i].text.full_length;
      const size_t row = parts_.labels.size() - 1;
      if (part[i].has_teacher()) {
        parts_.teachers.resize(row + 1);
        parts_.teachers[row] = part[i].teacher;
      }
      const auto& [a, b] = part[i].auxiliary;
      if (!a.empty() || !b.empty()) {
        parts_.auxiliary.resize(row + 1, {-1, -1});
        parts_.auxiliary[row] = {place_of(a), place_of(b)};
      }
    }
  }
}

int32_t DatasetBuilder::place_of(const std::string& value) {
  if (value.empty()) return -1;
  auto [found, is_new] = auxiliary_places_.try_emplace(value, static_cast<int32_t>(auxiliary_places_.size()));
  if (is_new) parts_.auxiliary_values.push_back(value);
  return found->second;
}

void DatasetBuilder::add_tokens(std::vector<int32_t> tokens, std::array<float, 3> label, std::vector<int32_t> swapped) {
  auto append = [&](std::vector<int32_t>& ids) {
    // Every row needs a position to read the result from.
    if (ids.empty()) ids.push_back(std::max(encoder_.pad_id, 0));
    if (static_cast<int64_t>(ids.size()) > options_.max_length)
      fail("DatasetBuilder: {} tokens in a row, max_length is {}", ids.size(), options_.max_length);
    if (sink_)
      sink_(ids);
    else
      tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    parts_.offsets.push_back(parts_.offsets.back() + static_cast<int64_t>(ids.size()));
  };
  parts_.full_lengths.push_back(static_cast<int64_t>(tokens.size()));
  append(tokens);
  if (options_.with_swapped) append(swapped);
  parts_.labels.push_back(label);
  const PreferenceRow usual;
  parts_.weights.push_back(usual.weight);
  parts_.margins.push_back(usual.margin);
  parts_.scores.push_back(usual.score);
  parts_.source_rows.push_back(static_cast<int64_t>(parts_.labels.size()));
}

DatasetParts DatasetBuilder::take_parts() {
  return std::move(parts_);
}

TokenizedDataset DatasetBuilder::finish() {
  auto tokens = std::make_shared<const std::vector<int32_t>>(std::move(tokens_));
  parts_.tokens = *tokens;
  parts_.tokens_owner = tokens;
  return TokenizedDataset(std::move(parts_));
}

TokenizedDataset tokenize(std::span<const PreferenceRow> rows, const TokenizeOptions& options,
                          const TextEncoder& encoder) {
  DatasetBuilder builder(options, encoder);
  builder.add(rows);
  return builder.finish();
}

}  // namespace gavel
