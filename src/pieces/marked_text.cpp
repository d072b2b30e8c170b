#include "pieces/marked_text.h"

#include <algorithm>
#include <cctype>

#include "pieces/space_mark.h"

namespace gavel {
namespace {

using Stage = PreTokenizer::Stage;
using Step = Normalizer::Step;

bool has_space(std::string_view text) {
  return text.find(' ') != std::string_view::npos;
}

bool marks_spaces(const Step& step) {
  return step.type == Step::Type::kReplace && step.pattern == " " && step.content == kSpaceMark;
}

bool spaces_vanish(const Normalizer& normalizer) {
  bool gone = false;
  for (const Step& step : normalizer.steps()) {
    switch (step.type) {
      case Step::Type::kReplace:
        if (step.pattern == " ") gone = true;
        if (has_space(step.content)) gone = false;
        break;
      case Step::Type::kPrepend:
        if (has_space(step.content)) gone = false;
        break;
      case Step::Type::kNfc:
        break;
      case Step::Type::kNfkc:  // makes spaces of other white space
        gone = false;
        break;
    }
  }
  return gone;
}

bool replaces_spaces(const Stage& stage) {
  return stage.type == Stage::Type::kMetaspace && !has_space(stage.pattern);
}

// Whether a stage finds the same in a text with spaces as in one with marks in their place: plain words, or a pattern
// that lists some, without either.
bool blind(const Stage& stage) {
  if (stage.type != Stage::Type::kSplit) return stage.type == Stage::Type::kDigits;
  std::string_view pattern = stage.pattern;
  if (has_space(pattern) || pattern.find(kSpaceMark) != std::string_view::npos) return false;
  if (!stage.is_regex) return true;
  if (pattern.empty() || pattern.front() == '|' || pattern.back() == '|') return false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '|' && pattern[i + 1] == '|') return false;
    if (c == '\\') {
      ++i;
      if (i == pattern.size() || std::ispunct(static_cast<unsigned char>(pattern[i])) == 0) return false;
    } else if (std::string_view(".^$*+?()[]{}").find(c) != std::string_view::npos) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool spaces_vanish(const Normalizer& normalizer, const std::vector<Stage>& stages) {
  return spaces_vanish(normalizer) || std::any_of(stages.begin(), stages.end(), replaces_spaces);
}

void drop_idle_stages(const Normalizer& normalizer, std::vector<Stage>& stages) {
  bool gone = spaces_vanish(normalizer);
  std::vector<Stage> kept;
  for (Stage& stage : stages) {
    gone = gone || replaces_spaces(stage);
    bool plain = stage.type == Stage::Type::kSplit && !stage.is_regex && !stage.invert;
    if (!(gone && plain && has_space(stage.pattern))) kept.push_back(std::move(stage));
  }
  stages = std::move(kept);
}

std::optional<MarkedText> MarkedText::of(const Normalizer& normalizer, const std::vector<Stage>& stages,
                                         const std::string& source) {
  MarkedText out;
  bool marked = false;
  for (const Step& step : normalizer.steps()) {
    if (step.type == Step::Type::kPrepend && step.content == kSpaceMark && out.front_ == Front::kNothing) {
      out.front_ = Front::kAlways;
    } else if (marks_spaces(step) && !marked) {
      marked = true;
    } else {
      return std::nullopt;
    }
  }
  std::vector<Stage> rest = stages;
  if (!rest.empty() && rest.front().type == Stage::Type::kMetaspace) {
    const Stage& stage = rest.front();
    if (stage.pattern != kSpaceMark || out.front_ != Front::kNothing) return std::nullopt;
    using Scheme = PreTokenizer::PrependScheme;
    if (stage.prepend_scheme == Scheme::kAlways) out.front_ = Front::kMissing;
    if (stage.prepend_scheme == Scheme::kFirst) out.front_ = Front::kMissingAtStart;
    out.split_ = stage.split;
    marked = true;
    rest.erase(rest.begin());
  }
  if (!marked || !std::all_of(rest.begin(), rest.end(), blind) || (out.split_ && !rest.empty())) return std::nullopt;
  out.rest_ = PreTokenizer(std::move(rest), source);
  return out;
}

std::string_view MarkedText::run(std::string_view part, bool at_start, std::string& buffer) const {
  bool there = part.starts_with(' ') || part.starts_with(kSpaceMark);
  bool front = front_ == Front::kAlways || (front_ == Front::kMissing && !there) ||
               (front_ == Front::kMissingAtStart && at_start && !there);
  if (!front && part.find(kSpaceMark) == std::string_view::npos) return part;
  buffer.clear();
  if (front) buffer += ' ';
  append_marked(buffer, part);
  return buffer;
}

}  // namespace gavel
