#include "rows/cleaning.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "rows/preferences.h"

namespace gavel {

namespace {

struct OddityText {
  std::string_view key, name, repair;
};

constexpr std::array<OddityText, kNumOddities> kTexts = {{
    {"both_null", "both responses null", "kept as empty text"},
    {"null_turn", "null turns", "read as empty text"},
    {"empty_response", "empty responses", "kept"},
    {"lone_surrogate", "lone surrogates", "replaced by U+FFFD"},
    {"invalid_utf8", "invalid UTF-8", "replaced by U+FFFD"},
    {"unequal_turns", "unequal numbers of turns", "kept"},
    {"not_json", "cells that can't be read as turns", "taken as plain text"},
    {"bad_label", "missing or impossible labels", "kept without a label"},
    {"label_sum", "labels that do not sum to 1", "divided by their sum"},
    {"duplicate", "duplicate rows", "kept"},
    {"identical_answers", "identical answers", "kept"},
    {"contradictory_label", "contradictory labels", "kept"},
    {"zero_weight", "rows of weight 0", "kept"},
}};

/** "'x' (12), 'y' (3), …", the most frequent first. */
std::string name_labels(const std::map<std::string, int64_t>& labels) {
  constexpr size_t kMostNamed = 10;
  std::vector<std::pair<std::string, int64_t>> sorted(labels.begin(), labels.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> named;
  for (const auto& [label, rows] : sorted) {
    if (named.size() == kMostNamed) break;
    named.push_back(fmt::format("{} ({})", label.starts_with('(') ? label : "'" + label + "'", rows));
  }
  return fmt::format("{}{}", fmt::join(named, ", "), sorted.size() > kMostNamed ? ", …" : "");
}

uint64_t folded_product(uint64_t a, uint64_t b) {
  uint128_t product = static_cast<uint128_t>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

std::string_view oddity_name(Oddity oddity) {
  return kTexts[static_cast<size_t>(oddity)].name;
}

std::string_view oddity_key(Oddity oddity) {
  return kTexts[static_cast<size_t>(oddity)].key;
}

void CleaningReport::count(Oddity oddity, int64_t row, int64_t occurrences, bool drops) {
  Entry& entry = entries[static_cast<size_t>(oddity)];
  ++entry.rows;
  entry.occurrences += occurrences;
  if (drops) ++entry.dropped;
  if (entry.first_rows.size() < 3) entry.first_rows.push_back(row);
}

void CleaningReport::count_unknown_label(const std::string& label) {
  if (auto found = unknown_labels.find(label); found != unknown_labels.end())
    ++found->second;
  else if (unknown_labels.size() < kMostLabels)
    unknown_labels.emplace(label, 1);
}

void CleaningReport::add_unreadable(int64_t row, const std::string& why) {
  if (unreadable.size() < kMostReasons) unreadable.push_back(fmt::format("row {}: {}", row, why));
}

int64_t CleaningReport::unusable_rows() const {
  int64_t rows = 0;
  for (const Entry& entry : entries) rows += entry.dropped;
  return rows - (*this)[Oddity::kDuplicate].dropped - (*this)[Oddity::kZeroWeight].dropped;
}

void CleaningReport::add(const CleaningReport& other) {
  rows_read += other.rows_read;
  rows_kept += other.rows_kept;
  for (size_t i = 0; i < kNumOddities; ++i) {
    entries[i].rows += other.entries[i].rows;
    entries[i].occurrences += other.entries[i].occurrences;
    entries[i].dropped += other.entries[i].dropped;
  }
  for (const auto& [label, rows] : other.unknown_labels) unknown_labels[label] += rows;
}

std::string CleaningReport::format() const {
  std::string out = fmt::format("{} rows read, {} kept\n", rows_read, rows_kept);
  for (size_t i = 0; i < kNumOddities; ++i) {
    const Entry& entry = entries[i];
    if (entry.rows == 0) continue;
    std::string action;
    if (entry.dropped == entry.rows)
      action = "dropped";
    else if (entry.dropped > 0)
      action = fmt::format("{} dropped, the others {}", entry.dropped, kTexts[i].repair);
    else
      action = kTexts[i].repair;
    out += fmt::format("  {:<40} {:>8} rows", kTexts[i].name, entry.rows);
    if (entry.occurrences > entry.rows) out += fmt::format(" ({} places)", entry.occurrences);
    out += "  " + action;
    if (!entry.first_rows.empty())
      out += fmt::format(" (row {}{})", fmt::join(entry.first_rows, ", "),
                         entry.rows > static_cast<int64_t>(entry.first_rows.size()) ? ", …" : "");
    out += "\n";
    if (static_cast<Oddity>(i) == Oddity::kNotJson)
      for (const std::string& why : unreadable) out += fmt::format("    {}\n", why);
  }
  if (!unknown_labels.empty()) out += "  labels that are not known: " + name_labels(unknown_labels) + "\n";
  return out;
}

uint64_t hash_text(std::string_view text, uint64_t seed) {
  // Multiply and fold, 16 bytes at a time, as wyhash does.
  uint64_t state = mix64(seed ^ text.size());
  const char* data = text.data();
  size_t left = text.size();
  while (left >= 16) {
    uint64_t words[2];
    std::memcpy(words, data, 16);
    state = folded_product(state ^ words[0] ^ 0xa0761d6478bd642full, words[1] ^ 0xe7037ed1a0b428dbull ^ state);
    data += 16;
    left -= 16;
  }
  uint64_t words[2] = {0, 0};
  if (left > 0) std::memcpy(words, data, left);
  state = folded_product(state ^ words[0] ^ 0x8ebc6af09c88c6e3ull, words[1] ^ 0x589965cc75374cc3ull ^ state);
  return mix64(state);
}

uint64_t hash_turns(const std::vector<std::string>& turns, uint64_t seed) {
  uint64_t state = mix64(seed + turns.size());
  for (const auto& turn : turns) state = hash_text(turn, state);
  return state;
}

PairFingerprint fingerprint(const PreferenceRow& row) {
  std::pair a{hash_turns(row.response_a, 1), hash_turns(row.response_a, 2)};
  std::pair b{hash_turns(row.response_b, 1), hash_turns(row.response_b, 2)};
  PairFingerprint out;
  out.exchanged = b < a;
  out.identical_answers = a == b;
  if (out.exchanged) std::swap(a, b);
  out.high = mix64(mix64(hash_turns(row.prompt, 1) ^ mix64(a.first)) ^ b.first);
  out.low = mix64(mix64(hash_turns(row.prompt, 2) ^ mix64(a.second)) ^ b.second);
  return out;
}

RepeatFinder::Result RepeatFinder::add(const PairFingerprint& pair, std::array<float, 3> label) {
  if (pair.exchanged) std::swap(label[0], label[1]);
  auto [place, is_new] = seen_.try_emplace(Key{pair.high, pair.low}, label);
  if (is_new) return {};
  bool same = place->second == label ||
              (pair.identical_answers && place->second == std::array<float, 3>{label[1], label[0], label[2]});
  return {.duplicate = same, .contradictory = !same};
}

}  // namespace gavel
