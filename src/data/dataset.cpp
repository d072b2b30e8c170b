#include "data/dataset.h"

#include "base/error.h"
#include "data/parallel.h"

namespace gavel {

std::span<const int32_t> TokenizedDataset::tokens(int64_t row, bool swap) const {
  if (row < 0 || row >= num_rows()) fail("TokenizedDataset: row {} of {}", row, num_rows());
  if (swap && variants_ < 2) fail("TokenizedDataset: tokenized without the A/B exchanges that are asked for");
  size_t at = static_cast<size_t>(row * variants_ + (swap ? 1 : 0));
  int64_t begin = (*offsets_)[at];
  return std::span(*tokens_).subspan(static_cast<size_t>(begin),
                                     static_cast<size_t>((*offsets_)[at + 1] - begin));
}

int64_t TokenizedDataset::length(int64_t row, bool swap) const {
  return static_cast<int64_t>(tokens(row, swap).size());
}

std::array<float, 3> TokenizedDataset::label(int64_t row, bool swap) const {
  auto label = (*labels_)[static_cast<size_t>(row)];
  if (swap) std::swap(label[0], label[1]);
  return label;
}

std::vector<int64_t> TokenizedDataset::lengths() const {
  std::vector<int64_t> out;
  out.reserve(labels_->size());
  for (int64_t row = 0; row < num_rows(); ++row) out.push_back(length(row));
  return out;
}

std::vector<int64_t> TokenizedDataset::full_lengths() const {
  return *full_lengths_;
}

DatasetBuilder::DatasetBuilder(TokenizeOptions options, const TextEncoder& encoder)
    : options_(std::move(options)), encoder_(encoder) {}

void DatasetBuilder::add(std::span<const PreferenceRow> rows) {
  struct Encoded {
    EncodedText text, swapped;
  };
  constexpr size_t kBlock = 4096;  // rows in flight
  std::vector<Encoded> block;
  for (size_t start = 0; start < rows.size(); start += kBlock) {
    auto part = rows.subspan(start, std::min(kBlock, rows.size() - start));
    block.assign(part.size(), Encoded());
    parallel_for(part.size(), 16, options_.threads, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        block[i].text = encode_row(part[i], false, options_, encoder_);
        if (options_.with_swapped) block[i].swapped = encode_row(part[i], true, options_, encoder_);
      }
    });
    for (size_t i = 0; i < part.size(); ++i) {
      add_tokens(std::move(block[i].text.ids), part[i].has_label ? part[i].label : std::array<float, 3>{},
                 std::move(block[i].swapped.ids));
      source_rows_.back() = part[i].source_row;
      full_lengths_.back() = block[i].text.full_length;
    }
  }
}

void DatasetBuilder::add_tokens(std::vector<int32_t> tokens, std::array<float, 3> label,
                                std::vector<int32_t> swapped) {
  auto append = [&](std::vector<int32_t>& ids) {
    // Every row needs a position to read the result from.
    if (ids.empty()) ids.push_back(std::max(encoder_.pad_id, 0));
    if (static_cast<int64_t>(ids.size()) > options_.max_length)
      fail("DatasetBuilder: {} tokens in a row, max_length is {}", ids.size(), options_.max_length);
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    offsets_.push_back(static_cast<int64_t>(tokens_.size()));
  };
  full_lengths_.push_back(static_cast<int64_t>(tokens.size()));
  append(tokens);
  if (options_.with_swapped) append(swapped);
  labels_.push_back(label);
  source_rows_.push_back(static_cast<int64_t>(labels_.size()));
}

TokenizedDataset DatasetBuilder::finish() {
  TokenizedDataset out;
  auto share = [](auto& values) {
    return std::make_shared<const std::remove_reference_t<decltype(values)>>(std::move(values));
  };
  out.variants_ = options_.with_swapped ? 2 : 1;
  out.pad_id_ = encoder_.pad_id;
  out.tokens_ = share(tokens_);
  out.offsets_ = share(offsets_);
  out.labels_ = share(labels_);
  out.source_rows_ = share(source_rows_);
  out.full_lengths_ = share(full_lengths_);
  return out;
}

TokenizedDataset tokenize(std::span<const PreferenceRow> rows, const TokenizeOptions& options,
                          const TextEncoder& encoder) {
  DatasetBuilder builder(options, encoder);
  builder.add(rows);
  return builder.finish();
}

}  // namespace gavel
