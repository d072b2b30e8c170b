#include "data/dataset.h"

#include <algorithm>

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
    }
  }
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
