// How rows are made of texts: the template, and truncation and padding as `tokenizers` has them.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "text/json_node.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

using simdjson::dom::element;

void append_ids(const JsonNode& list, std::vector<int32_t>& out) {
  for (element e : list.array()) {
    uint64_t id = JsonNode{e, list.where}.number();
    if (id > INT32_MAX) fail("{}: {} is not a token id", list.where, id);
    out.push_back(static_cast<int32_t>(id));
  }
}

void read_template(const JsonNode& node, std::vector<int32_t>& prefix, std::vector<int32_t>& suffix) {
  JsonNode single = node.get("single");
  bool after = false;
  size_t i = 0;
  for (element e : single.array()) {
    JsonNode piece{e, fmt::format("{}[{}]", single.where, i++)};
    if (piece.has("Sequence")) {
      if (after) fail("{}: the text stands twice in the template, which is not known", piece.where);
      after = true;
      continue;
    }
    std::string_view name = piece.get("SpecialToken").get("id").text();
    append_ids(node.get("special_tokens").get(name).get("ids"), after ? suffix : prefix);
  }
  if (!after) fail("{}: the text does not stand in the template", single.where);
}

Side read_side(const JsonNode& node) {
  if (!node.has("direction")) return Side::kRight;  // files of old versions
  std::string_view name = node.get("direction").text();
  if (name != "Right" && name != "Left")
    fail("{}.direction: \"{}\" is not known; Right and Left are", node.where, name);
  return name == "Left" ? Side::kLeft : Side::kRight;
}

size_t read_length(const JsonNode& node) {
  uint64_t length = node.number();
  if (length > PaddingParams::kMaxLength)
    fail("{}: {} is too long; at most {} tokens are allowed", node.where, length, PaddingParams::kMaxLength);
  return length;
}

/** Texts in runs of about kRunBytes, which threads take one by one, so that long texts spread evenly. */
struct Run {
  size_t begin;
  size_t end;
  size_t bytes = 0;
  std::vector<int32_t> ids;
  size_t replaced = 0;
};

std::vector<Run> make_runs(std::span<const std::string_view> texts) {
  constexpr size_t kRunBytes = 64 << 10;
  std::vector<Run> runs;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (runs.empty() || runs.back().bytes >= kRunBytes) runs.push_back({.begin = i, .end = i});
    runs.back().end = i + 1;
    runs.back().bytes += texts[i].size();
  }
  return runs;
}

/** Calls work(i) for i below `count` on up to `threads` threads; the first exception is thrown on. */
template <class Work>
void for_each(size_t count, size_t threads, const Work& work) {
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  auto loop = [&] {
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      std::lock_guard guard(error_lock);
      error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> workers;
  for (size_t i = 1; i < std::min(threads, count); ++i) workers.emplace_back(loop);
  loop();
  workers.clear();
  if (error) std::rethrow_exception(error);
}

}  // namespace

void read_post_processor(const JsonNode& node, std::vector<int32_t>& prefix, std::vector<int32_t>& suffix, int depth) {
  std::string type = node.type();
  if (type == "ByteLevel") return;  // offsets only
  std::vector<int32_t> before, behind;
  if (type == "TemplateProcessing") {
    read_template(node, before, behind);
  } else if (type == "Sequence") {
    if (depth > 16) fail("{}: nested too deeply", node.where);
    JsonNode list = node.get("processors");
    size_t i = 0;
    for (element e : list.array())
      read_post_processor({e, fmt::format("{}[{}]", list.where, i++)}, prefix, suffix, depth + 1);
    return;
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    for (auto [key, out] : {std::pair{"cls", &before}, std::pair{"sep", &behind}}) {
      auto pair = node.get(key).array();  // [token, id]
      element id;
      if (pair.at(1).get(id) != simdjson::SUCCESS) fail("{}.{}: expected [token, id]", node.where, key);
      uint64_t value = JsonNode{id, fmt::format("{}.{}", node.where, key)}.number();
      if (value > INT32_MAX) fail("{}.{}: {} is not a token id", node.where, key, value);
      out->push_back(static_cast<int32_t>(value));
    }
  } else {
    fail(
        "{}: the post-processor \"{}\" is not known; TemplateProcessing, ByteLevel, RobertaProcessing, "
        "BertProcessing and Sequence are",
        node.where, type);
  }
  prefix.insert(prefix.begin(), before.begin(), before.end());
  suffix.insert(suffix.end(), behind.begin(), behind.end());
}

TruncationParams read_truncation(const JsonNode& node) {
  TruncationParams out;
  out.max_length = node.get("max_length").number();
  out.direction = read_side(node);
  out.stride = node.has("stride") ? node.get("stride").number() : 0;
  using enum TruncationParams::Strategy;
  std::string_view name = node.get("strategy").text();
  if (name != "LongestFirst" && name != "OnlyFirst" && name != "OnlySecond")
    fail("{}.strategy: \"{}\" is not known; LongestFirst, OnlyFirst and OnlySecond are", node.where, name);
  out.strategy = name == "LongestFirst" ? kLongestFirst : name == "OnlyFirst" ? kOnlyFirst : kOnlySecond;
  return out;
}

PaddingParams read_padding(const JsonNode& node) {
  PaddingParams out;
  JsonNode strategy = node.get("strategy");
  if (strategy.has("Fixed")) {
    out.length = read_length(strategy.get("Fixed"));
  } else if (strategy.text() != "BatchLongest") {
    fail("{}: \"{}\" is not known; \"BatchLongest\" and {{\"Fixed\": length}} are", strategy.where, strategy.text());
  }
  out.direction = read_side(node);
  if (node.has("pad_to_multiple_of")) out.pad_to_multiple_of = read_length(node.get("pad_to_multiple_of"));
  auto id = [&](const char* key) {
    uint64_t value = node.get(key).number();
    if (value > INT32_MAX) fail("{}.{}: {} is not a token id", node.where, key, value);
    return static_cast<int32_t>(value);
  };
  out.pad_id = id("pad_id");
  out.pad_type_id = id("pad_type_id");
  out.pad_token = node.get("pad_token").text();
  return out;
}

RowOptions Tokenizer::row_options() const {
  return {true, impl_->truncation, impl_->padding};
}

void Tokenizer::set_template(bool add_bos_token, bool add_eos_token) {
  if (add_bos_token && !bos_) fail("{}: there is no bos token to add", impl_->source);
  if (add_eos_token && !eos_) fail("{}: there is no eos token to add", impl_->source);
  prefix_.clear();
  suffix_.clear();
  if (add_bos_token) prefix_.push_back(*bos_);
  if (add_eos_token) suffix_.push_back(*eos_);
  own_template_ = true;
}

Tokenizer::Batch Tokenizer::encode_batch(std::span<const std::string_view> texts, int threads) const {
  return encode_batch(texts, RowOptions{}, threads);
}

Tokenizer::Batch Tokenizer::encode_batch(std::span<const std::string_view> texts, const RowOptions& options,
                                         int threads) const {
  size_t count = threads > 0 ? static_cast<size_t>(threads) : std::max(1u, std::thread::hardware_concurrency());
  static const std::vector<int32_t> kNothing;
  const std::vector<int32_t>& before = options.add_special_tokens ? prefix_ : kNothing;
  const std::vector<int32_t>& behind = options.add_special_tokens ? suffix_ : kNothing;
  size_t room = SIZE_MAX;
  if (options.truncation) {
    size_t fixed = before.size() + behind.size(), longest = options.truncation->max_length;
    if (longest < fixed)
      fail("{}: truncation: max_length {} leaves no room for the {} tokens that the template adds", impl_->source,
           longest, fixed);
    room = longest - fixed;
    if (room > 0 && options.truncation->stride >= room)
      fail(
          "{}: truncation: the stride {} is not below the {} tokens of text that max_length {} leaves room "
          "for",
          impl_->source, options.truncation->stride, room, longest);
  }
  auto encode_row = [&](std::string_view text, EncodeScratch& scratch, Run& run) {
    std::vector<int32_t>& ids = run.ids;
    ids.insert(ids.end(), before.begin(), before.end());
    size_t start = ids.size();
    run.replaced += encode(text, {}, scratch, ids);
    if (size_t found = ids.size() - start; found > room) {
      if (options.truncation->strategy == TruncationParams::Strategy::kOnlySecond && room > 0)
        fail(
            "{}: truncation: the strategy OnlySecond is for pairs of texts, and a single one of {} tokens is "
            "too "
            "long",
            impl_->source, found);
      auto cut = static_cast<ptrdiff_t>(found - room);
      bool left = options.truncation->direction == Side::kLeft;
      auto first = left ? ids.begin() + static_cast<ptrdiff_t>(start) : ids.end() - cut;
      ids.erase(first, first + cut);
    }
    ids.insert(ids.end(), behind.begin(), behind.end());
  };
  std::vector<Run> runs = make_runs(texts);
  std::vector<size_t> ends(texts.size());  // of each row in its run
  for_each(runs.size(), count, [&](size_t r) {
    Run& run = runs[r];
    ScratchPool::Lease lease(impl_->pool);
    run.ids.reserve(run.bytes / 3);
    for (size_t i = run.begin; i < run.end; ++i) {
      encode_row(texts[i], *lease, run);
      ends[i] = run.ids.size();
    }
  });
  Batch batch;
  batch.rows.reserve(texts.size());
  for (Run& run : runs) {
    for (size_t i = run.begin, at = 0; i < run.end; at = ends[i++])
      batch.rows.emplace_back(run.ids.data() + at, ends[i] - at);
    batch.tokens += run.ids.size();
    batch.replaced += run.replaced;
    batch.memory_.push_back(std::move(run.ids));
  }
  if (options.padding) pad(batch, *options.padding);
  return batch;
}

void Tokenizer::pad(Batch& batch, const PaddingParams& padding) {
  size_t length = padding.length.value_or(0);
  if (!padding.length)
    for (auto row : batch.rows) length = std::max(length, row.size());
  size_t multiple = padding.pad_to_multiple_of;
  if (multiple > 0 && length % multiple > 0) length += multiple - length % multiple;
  size_t total = 0;
  for (auto row : batch.rows) total += std::max(length, row.size());
  std::vector<int32_t> ids(total, padding.pad_id);
  auto* at = ids.data();
  for (auto& row : batch.rows) {
    size_t padded = std::max(length, row.size());
    int32_t* real = padding.direction == Side::kLeft ? at + (padded - row.size()) : at;
    std::copy(row.begin(), row.end(), real);
    batch.kept.emplace_back(real, row.size());
    row = {at, padded};
    at += padded;
  }
  batch.tokens = total;
  batch.memory_.clear();
  batch.memory_.push_back(std::move(ids));
}

std::vector<uint8_t> Tokenizer::Batch::attention_mask(size_t i) const {
  std::vector<uint8_t> mask(rows[i].size(), kept.empty() ? 1 : 0);
  if (!kept.empty()) std::fill_n(mask.begin() + (kept[i].data() - rows[i].data()), kept[i].size(), uint8_t{1});
  return mask;
}

}  // namespace gavel
