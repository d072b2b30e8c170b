#include "pieces/normalizer.h"

#include "pieces/unicode_form.h"

namespace gavel {
namespace {

const UnicodeForm& form_of(const Normalizer::Step& step) {
  return UnicodeForm::get(step.type == Normalizer::Step::Type::kNfc ? UnicodeForm::Name::kNfc
                                                                    : UnicodeForm::Name::kNfkc);
}

// False, and nothing appended, when the step leaves the text as it is.
bool apply(const Normalizer::Step& step, std::string_view text, std::string& out) {
  using Type = Normalizer::Step::Type;
  switch (step.type) {
    case Type::kReplace: {
      size_t found = text.find(step.pattern), at = 0;
      if (found == std::string_view::npos) return false;
      out.reserve(text.size() + text.size() / 2);
      for (; found != std::string_view::npos; found = text.find(step.pattern, at)) {
        out.append(text, at, found - at);
        out += step.content;
        at = found + step.pattern.size();
      }
      out.append(text, at);
      return true;
    }
    case Type::kPrepend:
      if (text.empty()) return false;
      out += step.content;
      out += text;
      return true;
    case Type::kNfc:
    case Type::kNfkc: {
      const UnicodeForm& form = form_of(step);
      if (form.plain(text)) return false;
      form.append(out, text);
      return true;
    }
  }
  return false;
}

}  // namespace

Normalizer::Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {
  // So that the first text does not wait for the tables.
  for (const Step& step : steps_)
    if (step.type == Step::Type::kNfc || step.type == Step::Type::kNfkc) form_of(step);
}

std::string_view Normalizer::run(std::string_view text, std::array<std::string, 2>& buffers) const {
  size_t free = 0;
  for (const Step& step : steps_) {
    buffers[free].clear();
    if (!apply(step, text, buffers[free])) continue;
    text = buffers[free];
    free = 1 - free;
  }
  return text;
}

}  // namespace gavel
