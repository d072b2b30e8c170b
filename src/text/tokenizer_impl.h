#pragma once
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "pieces/added_tokens.h"
#include "pieces/marked_text.h"
#include "pieces/normalizer.h"
#include "pieces/pretokenizer.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/tokenizer.h"

namespace gavel {

struct JsonNode;

/** All that one encode() call writes to. */
struct EncodeScratch {
  BpeModel::Scratch bpe;
  RegexScratch regex;
  std::string text, spelled, marked;
  std::array<std::string, 2> normalized;
  std::vector<AddedTokenMatcher::Piece> pieces, inner;
  std::vector<std::pair<size_t, size_t>> ranges;
  std::vector<std::string> strings;
};

/** Keeps scratch memory between calls, so that its word cache still knows the words of earlier calls and threads. */
class ScratchPool {
 public:
  ScratchPool() = default;
  ~ScratchPool() { clear(); }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.give(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() const { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

  void clear() {
    for (auto& slot : slots_) delete slot.exchange(nullptr);
  }

 private:
  std::unique_ptr<EncodeScratch> take() {
    for (auto& slot : slots_)
      if (slot.load(std::memory_order_relaxed))
        if (EncodeScratch* found = slot.exchange(nullptr, std::memory_order_acquire))
          return std::unique_ptr<EncodeScratch>(found);
    return std::make_unique<EncodeScratch>();
  }
  void give(std::unique_ptr<EncodeScratch> scratch) {
    for (auto& slot : slots_) {
      EncodeScratch* none = nullptr;
      if (slot.compare_exchange_strong(none, scratch.get(), std::memory_order_release)) {
        scratch.release();
        return;
      }
    }
  }
  std::array<std::atomic<EncodeScratch*>, 64> slots_{};
};

struct Tokenizer::Impl {
  std::string source;
  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre;
  std::optional<MarkedText> marked;  // stands for normalizer and pre, where they do no more than it can
  AddedTokenMatcher first;           // added tokens with normalized = false, looked for first
  AddedTokenMatcher second;          // the others, by their normalized text
  std::vector<AddedToken> added;     // by id
  std::unordered_map<std::string, size_t> added_by_content;
  std::unordered_map<int32_t, size_t> added_by_id;
  std::optional<TruncationParams> truncation;  // of tokenizer.json
  std::optional<PaddingParams> padding;
  bool byte_level_decoder = true;  // else decode() does as `decoder` says, or joins the tokens' strings with spaces
  std::optional<Decoder> decoder;

  std::string_view json;                                 // the tokenizer.json that was read, kept alive by
  std::shared_ptr<const void> json_keep;                 // this
  std::string config_json;                               // tokenizer_config.json as read, or ""
  std::string special_map_json;                          // special_tokens_map.json as read, or ""
  std::string chat_template;                             // Jinja, or ""
  bool chat_template_file = false;                       // it stands in a file of its own, chat_template.jinja
  GgufVocab gguf;                                        // without tokens; model is "" when read from JSON
  std::vector<std::pair<int32_t, int32_t>> made_merges;  // of a GGUF vocabulary of scores
  mutable ScratchPool pool;
};

// The sections of tokenizer.json that say how a text becomes pieces and tokens a text again (tokenizer_json_text.cpp).
std::vector<Normalizer::Step> read_normalizer(const JsonNode& node);
std::vector<PreTokenizer::Stage> read_pre_tokenizer(const JsonNode& node);
std::vector<Decoder::Step> read_decoder(const JsonNode& node);

// The sections of tokenizer.json that make rows of texts (tokenizer_rows.cpp).
void read_post_processor(const JsonNode& node, std::vector<int32_t>& prefix, std::vector<int32_t>& suffix,
                         int depth = 0);
TruncationParams read_truncation(const JsonNode& node);
PaddingParams read_padding(const JsonNode& node);

/** The section "added_tokens" of tokenizer.json. */
nlohmann::ordered_json added_tokens_json(const std::vector<AddedToken>& tokens);

/** Fills a Tokenizer::Impl. */
struct TokenizerBuilder {
  static Tokenizer from_json(std::string_view json, const std::string& source, std::shared_ptr<const void> keep);
  static Tokenizer from_gguf(const GgufVocab& vocab);
  /** bos, eos, pad from the files beside a tokenizer.json. */
  static void read_configs(Tokenizer& tokenizer, const std::filesystem::path& folder);
  /** Adds the tokens of a tokenizer_config.json's added_tokens_decoder that tokenizer.json lacks, and takes its flags for
   * the others, as transformers does. */
  static void add_configured(Tokenizer::Impl& impl, const nlohmann::json& config, const std::string& file);
  /** Ids as `tokenizers` gives them: the model's, else counting on from its size. */
  static void add_tokens(Tokenizer::Impl& impl, std::vector<AddedToken> tokens);
  static void finish_added(Tokenizer::Impl& impl);
  /** Sets normalizer and pre-tokenizer, and what the model's tokens spell, before the model gets any. Throws Error naming
   * the parts that don't go together. */
  static void set_text_parts(Tokenizer::Impl& impl, std::vector<Normalizer::Step> steps,
                             std::vector<PreTokenizer::Stage> stages);
};

}  // namespace gavel
