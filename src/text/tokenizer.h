#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/gguf_vocab.h"
#include "text/row_options.h"

namespace gavel {

struct EncodeScratch;

/** Byte-level byte-pair encoding, equal id for id to Hugging Face `tokenizers`. Reads tokenizer.json and
 * GGUF. Copies share the same immutable data; encode and decode may be called by several threads at once. */
class Tokenizer {
 public:
  /** A tokenizer.json; a folder holding one (tokenizer_config.json, special_tokens_map.json and config.json
   * beside it give the bos, eos and pad tokens); or a .gguf file. Throws Error naming the file and the part
   * that is missing, wrong or not known. */
  static Tokenizer load(const std::filesystem::path& path);
  /** The text of a tokenizer.json; `source` names it in errors. */
  static Tokenizer from_json(std::string_view json, const std::string& source);
  static Tokenizer from_gguf(const GgufVocab& vocab);

  /** Appends the ids of `text`. Added tokens written in the text are recognised; what the template adds
   * (prefix(), suffix()) is not added. What is not UTF-8 becomes U+FFFD as Rust's from_utf8_lossy has it;
   * returns how many times that was done. */
  size_t encode(std::string_view text, std::vector<int32_t>& ids) const;

  /** Bytes from `first` to before `second`. */
  using ByteRange = std::pair<size_t, size_t>;
  /** The same of a text with parts that are a stranger's, in rising order: special tokens written there are text. */
  size_t encode_around(std::string_view text, std::span<const ByteRange> foreign, std::vector<int32_t>& ids) const;

  /** The rows of many texts. Moves, but is not copied: the rows lie in its own memory. */
  struct Batch {
    std::vector<std::span<const int32_t>> rows;  // the ids of each text
    std::vector<std::span<const int32_t>> kept;  // with padding: the part of each row that is not padding
    size_t tokens = 0;                           // of all rows
    size_t replaced = 0;                         // parts that were not UTF-8
    /** 1 for what is not padding, 0 for what is. */
    std::vector<uint8_t> attention_mask(size_t i) const;

    Batch() = default;
    Batch(Batch&&) = default;
    Batch& operator=(Batch&&) = default;

   private:
    friend class Tokenizer;
    std::vector<std::vector<int32_t>> memory_;
  };
  /** encode() of many texts over `threads` threads (0: as many as the machine has). */
  Batch encode_batch(std::span<const std::string_view> texts, int threads = 0) const;
  /** The same with the template, truncation and padding of `options`; equal to `tokenizers`' encode_batch().
   * Throws Error when max_length leaves no room for the template's tokens. */
  Batch encode_batch(std::span<const std::string_view> texts, const RowOptions& options, int threads = 0) const;
  /** What tokenizer.json itself asks for: special tokens, and its sections "truncation" and "padding". */
  RowOptions row_options() const;

  /** The text of ids: unknown ids are left out, and so are special tokens when `skip_special`. Bytes that are
   * not UTF-8 become U+FFFD. */
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  /** What the template puts before and after a text, e.g. <|begin_of_text|>. */
  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<int32_t>& suffix() const { return suffix_; }
  /** Replaces the template by the bos token or nothing before and the eos token or nothing after a text, as
   * transformers does it for add_bos_token and add_eos_token; save() writes it. Throws when the tokenizer has no
   * such token. */
  void set_template(bool add_bos_token, bool add_eos_token);

  std::optional<int32_t> bos_id() const { return bos_; }
  std::optional<int32_t> eos_id() const { return eos_; }
  std::optional<int32_t> pad_id() const { return pad_; }
  /** For recipes with pad = eos; save() writes it. Throws when the id has no token. */
  void set_pad_id(int32_t id);

  /** The largest id + 1, added tokens included. */
  int32_t vocab_size() const;
  std::optional<int32_t> token_to_id(std::string_view token) const;
  /** The token's string as tokenizer.json spells it ("Ġhello"); "" for an id without a token. */
  std::string id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;

  /** The file that it was read from. */
  const std::string& source() const;
  /** The special tokens' texts as chat templates call them: bos_token, eos_token, … */
  std::map<std::string, std::string> special_tokens() const;
  /** The model's own chat template (Jinja); "" when it has none. Where there are several, the one named default. */
  const std::string& chat_template() const;

  /** Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json, which transformers'
   * AutoTokenizer opens. A tokenizer.json that was read is written byte for byte (but for set_template()); from
   * GGUF an equal one is made. */
  void save(const std::filesystem::path& folder) const;

  /** The tokenizer.json that save() writes. */
  std::string to_json() const;

  /** The same tokenizer with PCRE2 in place of the hand-made scanners, or with an empty word cache. For tests
   * and measurements. */
  Tokenizer with_regex_only() const;
  void clear_cache() const;

 private:
  friend struct TokenizerBuilder;
  struct Impl;
  Tokenizer() = default;
  size_t encode(std::string_view text, std::span<const ByteRange> foreign, EncodeScratch& scratch,
                std::vector<int32_t>& ids) const;
  static void pad(Batch& batch, const PaddingParams& padding);
  std::shared_ptr<const Impl> impl_;
  std::optional<int32_t> bos_, eos_, pad_;
  std::vector<int32_t> prefix_, suffix_;
  bool own_template_ = false;  // set_template() was called
};

}  // namespace gavel
