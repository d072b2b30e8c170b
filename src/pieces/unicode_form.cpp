#include "pieces/unicode_form.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "pieces/unicode.h"

namespace gavel {

namespace {

constexpr size_t kLongRun = 256;  // bytes

}  // namespace

struct UnicodeForm::Impl {
  icu::UnicodeSet known;                                 // characters of Unicode 9.0
  std::unique_ptr<const icu::FilteredNormalizer2> form;  // as if there were no others
  std::vector<uint64_t> plain;                           // a bit for each code point

  void append(std::string& out, std::string_view text) const;
  std::string in_canonical_order(std::string_view text) const;
};

void UnicodeForm::Impl::append(std::string& out, std::string_view text) const {
  std::string ordered;
  if (text.size() > kLongRun) text = ordered = in_canonical_order(text);
  if (text.size() > INT32_MAX)
    fail("{} bytes of combining characters side by side are more than 2 GiB, which is the limit", text.size());
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode error = U_ZERO_ERROR;
  form->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, error);
  if (U_FAILURE(error)) fail("ICU fails at Unicode normalization: {}", u_errorName(error));
}

// An equivalent text whose combining characters are in order already. ICU puts each in its place by going back over all
// that belong behind it, which takes quadratic time for many.
std::string UnicodeForm::Impl::in_canonical_order(std::string_view text) const {
  struct Mark {
    uint8_t combining_class;
    std::string_view bytes;
  };
  std::vector<Mark> marks;
  std::string out;
  auto flush = [&] {
    std::stable_sort(marks.begin(), marks.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    for (const Mark& mark : marks) out += mark.bytes;
    marks.clear();
  };
  for (size_t at = 0; at < text.size();) {
    Decoded c = decode_utf8(reinterpret_cast<const uint8_t*>(text.data()) + at);
    uint8_t combining_class = form->getCombiningClass(static_cast<UChar32>(c.code_point));
    if (combining_class == 0) flush();
    marks.push_back({combining_class, text.substr(at, c.size)});
    if (combining_class == 0) flush();
    at += c.size;
  }
  flush();
  return out;
}

UnicodeForm::UnicodeForm(Name name) : impl_(std::make_unique<Impl>()) {
  UErrorCode error = U_ZERO_ERROR;
  bool nfc = name == Name::kNfc;
  const icu::Normalizer2* newest =
      nfc ? icu::Normalizer2::getNFCInstance(error) : icu::Normalizer2::getNFKCInstance(error);
  impl_->known.applyPattern(icu::UnicodeString("[:age=9.0:]"), error);
  // Normal by itself and never moved or composed with what stands before.
  icu::UnicodeSet plain(icu::UnicodeString(nfc ? "[[:NFC_QC=Yes:]&[:ccc=0:]]" : "[[:NFKC_QC=Yes:]&[:ccc=0:]]"), error);
  if (U_FAILURE(error)) fail("ICU has no Unicode normalization: {}", u_errorName(error));
  icu::UnicodeSet later = impl_->known;
  plain.addAll(later.complement());
  impl_->known.freeze();
  impl_->form = std::make_unique<const icu::FilteredNormalizer2>(*newest, impl_->known);
  impl_->plain.resize(0x110000 / 64);
  for (int32_t range = 0; range < plain.getRangeCount(); ++range)
    for (int32_t c = plain.getRangeStart(range); c <= plain.getRangeEnd(range); ++c)
      impl_->plain[static_cast<size_t>(c) / 64] |= uint64_t{1} << c % 64;
}

UnicodeForm::~UnicodeForm() = default;

const UnicodeForm& UnicodeForm::get(Name name) {
  if (name == Name::kNfc) {
    static const UnicodeForm nfc(Name::kNfc);
    return nfc;
  }
  static const UnicodeForm nfkc(Name::kNfkc);
  return nfkc;
}

size_t UnicodeForm::first_unplain(std::string_view text, size_t from) const {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t at = from; at < text.size();) {
    if (p[at] < 0x80) {
      ++at;
      continue;
    }
    Decoded c = decode_utf8(p + at);
    if ((impl_->plain[c.code_point / 64] >> c.code_point % 64 & 1) == 0) return at;
    at += c.size;
  }
  return text.size();
}

bool UnicodeForm::plain(std::string_view text) const {
  return first_unplain(text, 0) == text.size();
}

void UnicodeForm::append(std::string& out, std::string_view text) const {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  size_t done = 0;
  for (size_t at = first_unplain(text, 0); at < text.size(); at = first_unplain(text, done)) {
    // The plain character before may compose with this one; the next plain one after it can't.
    size_t begin = at;
    if (begin > done) begin = static_cast<size_t>(previous_char(p + begin) - p);
    size_t end = at;
    while (end < text.size()) {
      Decoded c = decode_utf8(p + end);
      if ((impl_->plain[c.code_point / 64] >> c.code_point % 64 & 1) != 0) break;
      end += c.size;
    }
    out.append(text, done, begin - done);
    impl_->append(out, text.substr(begin, end - begin));
    done = end;
  }
  out.append(text, done);
}

}  // namespace gavel
