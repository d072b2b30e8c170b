#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pieces/regex.h"

namespace gavel {

/** How a text is cut into the pieces that byte-pair encoding works on, as tokenizer.json's "pre_tokenizer"
 * says it: a list of Split, Digits and (last) ByteLevel, whose pieces are raw text (the model maps bytes itself); or, for
 * models of characters, a list of Split, Digits and Metaspace, which may be empty. */
class PreTokenizer {
 public:
  /** The known lists run as hand-made scanners, any other one stage by stage. */
  enum class Kind {
    kGeneral,
    kLlama3,      // Split (Llama-3 pattern, isolated), ByteLevel
    kLlama3One,   // the same with \p{N} instead of \p{N}{1,3} (Qwen2)
    kGpt2,        // ByteLevel with its own pattern
    kDigitsGpt2,  // Digits (individual), ByteLevel with its own pattern
    kWhole,       // ByteLevel without a pattern, or an empty list: one piece
  };
  enum class PrependScheme { kAlways, kFirst, kNever };
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Stage {
    enum class Type { kSplit, kDigits, kByteLevel, kMetaspace } type = Type::kByteLevel;
    std::string pattern;   // kSplit; kMetaspace: what stands for a space
    bool is_regex = true;  // kSplit: else the pattern is plain text
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    bool individual = false;                                // kDigits
    bool prefix_space = false;                              // kByteLevel
    bool use_regex = true;                                  // kByteLevel
    PrependScheme prepend_scheme = PrependScheme::kAlways;  // kMetaspace
    bool split = true;                                      // kMetaspace: before each replacement
  };

  static const char* const kLlama3Pattern;
  static const char* const kQwen2Pattern;
  static const char* const kGpt2Pattern;

  PreTokenizer() = default;
  /** `source` names the file in errors. With `scanners` false everything runs through PCRE2 (for tests). */
  PreTokenizer(std::vector<Stage> stages, const std::string& source, bool scanners = true);

  Kind kind() const { return kind_; }
  const std::vector<Stage>& stages() const { return stages_; }
  bool prefix_space() const { return prefix_space_; }
  /** Whether this is a list for byte-level models. */
  bool byte_level() const { return byte_level_; }

  /** Appends the byte ranges of the pieces of `text` (valid UTF-8), for lists without a prefix space. Runs stage by
   * stage, so this is for Kind::kGeneral; the tokenizer runs the scanners of the known kinds by itself. */
  void split(std::string_view text, RegexScratch& scratch, std::vector<std::pair<size_t, size_t>>& pieces) const;
  /** The same for a list with add_prefix_space: pieces are given out as strings. */
  void split_strings(std::string_view text, RegexScratch& scratch, std::vector<std::string>& pieces) const;
  /** The same for lists without ByteLevel: appends ranges of the text that is returned, which is `text` or, where
   * Metaspace changed it, lies in `buffer`. `at_start`: nothing stands before `text`. */
  std::string_view split_characters(std::string_view text, bool at_start, RegexScratch& scratch, std::string& buffer,
                                    std::vector<std::pair<size_t, size_t>>& pieces) const;

 private:
  using Ranges = std::vector<std::pair<size_t, size_t>>;
  void run_stage(size_t stage, std::string_view text, RegexScratch& scratch, Ranges& out) const;
  std::string run_metaspace(const Stage& stage, std::string_view text, bool at_start, Ranges& pieces) const;
  void split_until_byte_level(std::string_view text, RegexScratch& scratch, Ranges& pieces) const;

  Kind kind_ = Kind::kWhole;
  bool prefix_space_ = false;
  bool byte_level_ = true;
  std::vector<Stage> stages_;
  std::vector<std::optional<Regex>> regexes_;  // one a stage
};

}  // namespace gavel
