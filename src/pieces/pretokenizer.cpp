#include "pieces/pretokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "pieces/unicode.h"

namespace gavel {

const char* const PreTokenizer::kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char* const PreTokenizer::kQwen2Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char* const PreTokenizer::kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

namespace {

using Ranges = std::vector<std::pair<size_t, size_t>>;
struct Part {
  size_t begin;
  size_t end;
  bool match;
};

// All of [0, size) as matches and what lies between them.
std::vector<Part> parts_of(const Ranges& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (auto [begin, end] : matches) {
    if (at != begin) parts.push_back({at, begin, invert});
    parts.push_back({begin, end, !invert});
    at = end;
  }
  if (at != size) parts.push_back({at, size, invert});
  return parts;
}

// The five behaviours of `tokenizers`' SplitDelimiterBehavior; empty pieces are left out.
void apply(PreTokenizer::Behavior behavior, std::vector<Part> parts, size_t offset, Ranges& out) {
  using enum PreTokenizer::Behavior;
  std::vector<Part> kept;
  bool before = false;
  switch (behavior) {
    case kIsolated:
      kept = std::move(parts);
      break;
    case kRemoved:
      for (const Part& p : parts)
        if (!p.match) kept.push_back(p);
      break;
    case kContiguous:
      for (const Part& p : parts) {
        if (p.match == before && !kept.empty()) {
          kept.back().end = p.end;
        } else {
          kept.push_back(p);
        }
        before = p.match;
      }
      break;
    case kMergedWithPrevious:
      for (const Part& p : parts) {
        if (p.match && !before && !kept.empty()) {
          kept.back().end = p.end;
        } else {
          kept.push_back(p);
        }
        before = p.match;
      }
      break;
    case kMergedWithNext:
      for (auto p = parts.rbegin(); p != parts.rend(); ++p) {
        if (p->match && !before && !kept.empty()) {
          kept.back().begin = p->begin;
        } else {
          kept.push_back(*p);
        }
        before = p->match;
      }
      std::reverse(kept.begin(), kept.end());
      break;
  }
  for (const Part& p : kept)
    if (p.begin < p.end) out.emplace_back(offset + p.begin, offset + p.end);
}

void find_plain(std::string_view text, std::string_view pattern, Ranges& out) {
  if (pattern.empty()) return;
  for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, at + pattern.size()))
    out.emplace_back(at, at + pattern.size());
}

void find_numeric(std::string_view text, Ranges& out) {
  const UnicodeTable& table = UnicodeTable::get();
  for (size_t at = 0; at < text.size();) {
    Decoded c = decode_utf8(reinterpret_cast<const uint8_t*>(text.data()) + at);
    if (table.classes(c.code_point) & kNumericClass) out.emplace_back(at, at + c.size);
    at += c.size;
  }
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<Stage> stages, const std::string& source, bool scanners)
    : kind_(Kind::kGeneral), stages_(std::move(stages)) {
  using Type = Stage::Type;
  auto is_level = [](const Stage& s) { return s.type == Type::kByteLevel; };
  auto levels = std::count_if(stages_.begin(), stages_.end(), is_level);
  byte_level_ = levels > 0;
  if (byte_level_ && (levels != 1 || !is_level(stages_.back())))
    fail("{}: pre_tokenizer: expected ByteLevel once and last, which byte-level BPE needs", source);
  auto is_metaspace = [](const Stage& s) { return s.type == Type::kMetaspace; };
  if (byte_level_ && std::any_of(stages_.begin(), stages_.end(), is_metaspace))
    fail("{}: pre_tokenizer: Metaspace together with ByteLevel is not known", source);
  if (stages_.empty()) kind_ = Kind::kWhole;
  if (byte_level_) prefix_space_ = stages_.back().prefix_space;
  if (byte_level_ && scanners && !prefix_space_) {
    const Stage& first = stages_.front();
    const Stage& level = stages_.back();
    if (stages_.size() == 1) {
      kind_ = level.use_regex ? Kind::kGpt2 : Kind::kWhole;
    } else if (stages_.size() == 2 && first.type == Type::kDigits && first.individual && level.use_regex) {
      kind_ = Kind::kDigitsGpt2;
    } else if (stages_.size() == 2 && first.type == Type::kSplit && first.is_regex && !level.use_regex) {
      bool removed = first.behavior == Behavior::kRemoved && first.invert;  // every character is in a match
      bool plain = removed || (first.behavior == Behavior::kIsolated);
      if (plain && first.pattern == kLlama3Pattern) kind_ = Kind::kLlama3;
      if (plain && first.pattern == kQwen2Pattern) kind_ = Kind::kLlama3One;
      if (plain && first.pattern == kGpt2Pattern) kind_ = Kind::kGpt2;
    }
  }
  regexes_.resize(stages_.size());
  if (kind_ != Kind::kGeneral) return;
  for (size_t i = 0; i < stages_.size(); ++i) {
    if (stages_[i].type == Type::kSplit && stages_[i].is_regex) regexes_[i].emplace(stages_[i].pattern, source);
    if (is_level(stages_[i]) && stages_[i].use_regex) regexes_[i].emplace(kGpt2Pattern, source);
  }
}

void PreTokenizer::run_stage(size_t index, std::string_view text, RegexScratch& scratch, Ranges& pieces) const {
  const Stage& stage = stages_[index];
  Ranges before;
  before.swap(pieces);
  Ranges matches;
  for (auto [begin, end] : before) {
    std::string_view piece = text.substr(begin, end - begin);
    matches.clear();
    Behavior behavior = stage.behavior;
    bool invert = false;
    switch (stage.type) {
      case Stage::Type::kSplit:
        invert = stage.invert;
        if (stage.is_regex) {
          regexes_[index]->find_all(piece, scratch, matches);
        } else {
          find_plain(piece, stage.pattern, matches);
        }
        break;
      case Stage::Type::kDigits:
        behavior = stage.individual ? Behavior::kIsolated : Behavior::kContiguous;
        find_numeric(piece, matches);
        break;
      case Stage::Type::kMetaspace:
        break;  // run_metaspace()
      case Stage::Type::kByteLevel:
        behavior = Behavior::kIsolated;
        if (regexes_[index]) regexes_[index]->find_all(piece, scratch, matches);
        break;
    }
    apply(behavior, parts_of(matches, piece.size(), invert), begin, pieces);
  }
}

std::string PreTokenizer::run_metaspace(const Stage& stage, std::string_view text, bool at_start,
                                        Ranges& pieces) const {
  const std::string& mark = stage.pattern;
  Ranges before, matches;
  before.swap(pieces);
  std::string out;
  for (auto [begin, end] : before) {
    std::string_view piece = text.substr(begin, end - begin);
    size_t start = out.size();
    bool wanted = stage.prepend_scheme == PrependScheme::kAlways ||
                  (stage.prepend_scheme == PrependScheme::kFirst && at_start && begin == 0);
    if (wanted && !piece.starts_with(mark) && !piece.starts_with(' ')) out += mark;
    for (char c : piece) {
      if (c == ' ') {
        out += mark;
      } else {
        out += c;
      }
    }
    std::string_view marked = std::string_view(out).substr(start);
    matches.clear();
    if (stage.split) find_plain(marked, mark, matches);
    apply(stage.split ? Behavior::kMergedWithNext : Behavior::kIsolated, parts_of(matches, marked.size(), false), start,
          pieces);
  }
  return out;
}

std::string_view PreTokenizer::split_characters(std::string_view text, bool at_start, RegexScratch& scratch,
                                                std::string& buffer, Ranges& pieces) const {
  pieces.clear();
  if (!text.empty()) pieces.emplace_back(0, text.size());
  for (size_t i = 0; i < stages_.size(); ++i) {
    if (stages_[i].type == Stage::Type::kMetaspace) {
      buffer = run_metaspace(stages_[i], text, at_start, pieces);
      text = buffer;
    } else {
      run_stage(i, text, scratch, pieces);
    }
  }
  return text;
}

void PreTokenizer::split_until_byte_level(std::string_view text, RegexScratch& scratch, Ranges& pieces) const {
  pieces.clear();
  if (!text.empty()) pieces.emplace_back(0, text.size());
  for (size_t i = 0; i + 1 < stages_.size(); ++i) run_stage(i, text, scratch, pieces);
}

void PreTokenizer::split(std::string_view text, RegexScratch& scratch, Ranges& pieces) const {
  split_until_byte_level(text, scratch, pieces);
  run_stage(stages_.size() - 1, text, scratch, pieces);
}

void PreTokenizer::split_strings(std::string_view text, RegexScratch& scratch, std::vector<std::string>& pieces) const {
  Ranges fragments;
  split_until_byte_level(text, scratch, fragments);
  for (auto [begin, end] : fragments) {
    std::string fragment(text.substr(begin, end - begin));
    if (!fragment.starts_with(' ')) fragment.insert(0, 1, ' ');
    Ranges ranges{{0, fragment.size()}};
    run_stage(stages_.size() - 1, fragment, scratch, ranges);
    for (auto [first, last] : ranges) pieces.push_back(fragment.substr(first, last - first));
  }
}

}  // namespace gavel
