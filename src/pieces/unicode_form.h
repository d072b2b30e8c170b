#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace gavel {

/** NFC or NFKC as `tokenizers` has it: of Unicode 9.0, which it is built with. Characters that came later are left as
 * they are and nothing moves or composes across them. Immutable. */
class UnicodeForm {
 public:
  enum class Name { kNfc, kNfkc };
  /** The one of this name, built at the first call. Throws Error when ICU can't give it. */
  static const UnicodeForm& get(Name name);
  ~UnicodeForm();

  /** Whether `text` (valid UTF-8) consists of characters that stay as they are whatever stands beside them. */
  bool plain(std::string_view text) const;
  /** Appends the form of `text`. */
  void append(std::string& out, std::string_view text) const;

 private:
  explicit UnicodeForm(Name name);
  size_t first_unplain(std::string_view text, size_t from) const;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gavel
