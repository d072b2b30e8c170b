#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/word_cache.h"

namespace gavel {

/** GPT-2's alphabet: each byte has one printable character in the strings of a byte-level vocabulary. */
struct ByteAlphabet {
  static const ByteAlphabet& get();
  std::array<std::string, 256> text;        // byte -> its character, UTF-8
  std::array<int16_t, 0x144> byte_of_char;  // code point -> byte, -1 = none

  /** Appends the bytes that `token` stands for; false (and nothing appended) when a character is not one of
   * the alphabet. `token` is valid UTF-8. */
  bool append_bytes(std::string& out, std::string_view token) const;
  /** The characters of these bytes, as UTF-8. */
  std::string to_text(std::string_view bytes) const;
};

/** Appends ids to a vector through a small buffer, without asking the vector at each word. */
class IdWriter {
 public:
  explicit IdWriter(std::vector<int32_t>& ids) : ids_(ids) {}
  ~IdWriter() { flush(); }
  IdWriter(const IdWriter&) = delete;
  IdWriter& operator=(const IdWriter&) = delete;

  /** Up to three ids; `ids` has room for four. */
  void put(const uint32_t* ids, uint32_t count) {
    std::memcpy(buffer_.data() + used_, ids, 16);
    used_ += count;
    if (used_ > buffer_.size() - 4) flush();
  }
  /** The vector, with all that was put. */
  std::vector<int32_t>& flush() {
    ids_.insert(ids_.end(), buffer_.data(), buffer_.data() + used_);
    used_ = 0;
    return ids_;
  }

 private:
  std::vector<int32_t>& ids_;
  size_t used_ = 0;
  std::array<int32_t, 512> buffer_;
};

/** What the strings of a vocabulary spell, and so what merging begins with. */
enum class Spelling {
  kByteLevel,   // GPT-2's alphabet: bytes
  kCharacters,  // text as it is: characters
  kMarked,      // the same with U+2581 for each space: texts given to the model have ' ' where a token has U+2581
};

/** Byte-pair encoding (Sennrich et al., 2016): the vocabulary, the merges and the merging, with results equal to
 * those of `tokenizers`' BPE model. Immutable once finish() was called. */
class BpeModel {
 public:
  /** Scratch memory of one thread, with its word cache. */
  struct Scratch {
    WordCache cache;
    std::vector<int32_t> symbols;
    std::vector<uint64_t> pairs;
    std::vector<uint32_t> previous, next;
    std::vector<uint64_t> heap;
    std::vector<int32_t> ids;
  };

  /** Ids may come in any order, below kMaxIds; a token given twice keeps the later id. */
  static constexpr uint32_t kMaxIds = 1u << 24;
  /** Before the first token. */
  void set_spelling(Spelling spelling) { spelling_ = spelling; }
  Spelling spelling() const { return spelling_; }
  void reserve(size_t tokens, size_t merges);
  void add_token(std::string_view token, uint32_t id);
  /** Left and right token, all after the last add_token(); ranks count up. `row` is for missing_merge(). */
  void add_merge(std::string_view left, std::string_view right, size_t row);
  /** `unk`: what a byte or character without a token becomes (runs of them one token when `fuse`), else nothing.
   * `byte_fallback`: a character without a token becomes the tokens <0xNN> of its bytes where all of them are there. */
  void finish(bool ignore_merges, std::optional<uint32_t> unk, bool fuse, bool byte_fallback = false);
  /** After finish(): a merge with a token that is not in the vocabulary; the model can't be used then. */
  struct MissingMerge {
    size_t row;
    std::string token;
  };
  const std::optional<MissingMerge>& missing_merge() const { return missing_; }

  std::optional<int32_t> token_to_id(std::string_view token) const;
  /** The token's string as the vocabulary spells it; "" for an id without a token. */
  std::string id_to_token(int32_t id) const;
  /** Appends the bytes of an id (a marked space is ' '); false for an id without a token. */
  bool append_bytes(std::string& out, int32_t id) const;
  size_t vocab_size() const { return count_; }  // tokens, not the largest id
  int32_t id_end() const { return static_cast<int32_t>(tokens_.size()); }
  size_t merge_count() const { return rank_; }
  bool ignore_merges() const { return ignore_merges_; }
  bool fuse_unk() const { return fuse_unk_; }
  bool byte_fallback() const { return byte_fallback_; }
  /** The id of what has no token, or -1. */
  int32_t unk() const { return unk_; }

  /** Appends the tokens of one piece of pre-tokenized text. `safe_end`: memory up to there may be read. */
  void encode_piece(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch, IdWriter& out) const {
    if (size > ShortWord::kMaxBytes) return encode_long(p, size, safe_end, scratch, out.flush());
    encode_short(ShortWord::load(p, size, safe_end - p >= 16), p, size, scratch, out);
  }
  /** The same for a piece of at most ShortWord::kMaxBytes bytes, given as `word` too. */
  void encode_short(const ShortWord& word, const uint8_t* p, size_t size, Scratch& scratch, IdWriter& out) const {
    uint64_t hash = word.hash();
    const WordCache::Entry* entry = scratch.cache.find(word, hash);
    if (entry && entry->count <= 3) {
      out.put(entry->ids, entry->count);
    } else {
      encode_unusual(word, hash, entry, p, size, scratch, out.flush());
    }
  }
  /** Whether a token may reach over the boundary between the characters before and at `p + at` of a piece of
   * `size` bytes; false is certain, true may be wrong. Of byte-level models only boundaries with a character that is
   * not ASCII are told. */
  bool may_join(const uint8_t* p, size_t at, size_t size) const;
  /** encode_piece() without the cache and without looking the whole piece up in the vocabulary: the merges alone. */
  void merge_piece(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Token {
    uint32_t begin = 0;
    uint32_t size = 0;
    uint8_t kind = 0;  // 0 none, 1 what texts can hold, 2 other text
  };
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  struct PairSlot {
    uint64_t key = ~uint64_t{0};
    uint64_t value = 0;  // rank << 32 | new id
  };
  static constexpr uint64_t kNone = ~uint64_t{0};

  /** Appends the text that a token's string stands for; false, and nothing appended, when no text can hold it. */
  bool append_spelled(std::string& out, std::string_view token) const;
  std::string respelled(std::string_view text) const;
  bool in_characters() const { return spelling_ != Spelling::kByteLevel; }
  std::string_view bytes_of(const Token& t) const { return {arena_.data() + t.begin, t.size}; }
  int32_t find_bytes(std::string_view bytes, uint64_t hash) const;
  int32_t find_bytes(std::string_view bytes) const { return find_bytes(bytes, hash_bytes(bytes.data(), bytes.size())); }
  int32_t first_candidate(uint64_t hash) const;
  bool is_token(int32_t id, std::string_view bytes) const;
  void resolve_merges();
  void grow_table(size_t tokens);
  void grow_pairs(size_t merges);
  static uint64_t pair_hash(uint64_t key) {
    key = (key ^ (key >> 32)) * 0x9e3779b97f4a7c15ull;
    return key ^ (key >> 29);
  }
  /** Rank and id of what a merge makes of the two, or kNone. */
  uint64_t pair(int32_t left, int32_t right) const {
    uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    for (size_t slot = pair_hash(key) >> pair_shift_;; slot = (slot + 1) & (pairs_.size() - 1)) {
      if (pairs_[slot].key == key) return pairs_[slot].value;
      if (pairs_[slot].key == kNone) return kNone;
    }
  }
  void insert_pair(uint64_t key, uint64_t value);
  void encode_long(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                   std::vector<int32_t>& ids) const;
  void encode_unusual(const ShortWord& word, uint64_t hash, const WordCache::Entry* entry, const uint8_t* p,
                      size_t size, Scratch& scratch, std::vector<int32_t>& ids) const;
  void compute_piece(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const;
  int32_t whole_token(const uint8_t* p, size_t size) const;
  bool encode_parts(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                    std::vector<int32_t>& ids) const;
  void encode_part(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                   std::vector<int32_t>& ids) const;
  void encode_long_part(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const;
  void note_join(std::string_view left, std::string_view right);
  void finish_bytes();
  void finish_characters();
  size_t character_symbols(const uint8_t* p, size_t size, Scratch& scratch) const;
  bool encode_character_parts(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                              std::vector<int32_t>& ids) const;
  void encode_character_part(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                             IdWriter& out) const;
  void merge_small(Scratch& scratch, size_t n) const;
  void merge_large(Scratch& scratch, size_t n) const;

  Spelling spelling_ = Spelling::kByteLevel;
  std::string arena_;
  std::vector<Token> tokens_;  // by id
  std::vector<Slot> table_;    // of the tokens that texts can hold, by their bytes
  std::unordered_map<std::string, int32_t> other_;
  size_t count_ = 0;
  size_t in_table_ = 0;
  int table_shift_ = 64;
  std::vector<PairSlot> pairs_;
  size_t pair_count_ = 0;
  int pair_shift_ = 64;
  uint32_t rank_ = 0;
  std::array<int32_t, 256> byte_ids_{};
  std::vector<uint64_t> byte_pairs_;  // pair() of two bytes' tokens; of characters, of two ASCII ones'
  // Of models of characters.
  std::vector<int32_t> character_ids_;  // by code point below 0x10000, -1 = no token
  std::array<int32_t, 256> fallback_ids_{};
  int32_t unk_ = -1;
  bool byte_fallback_ = false;
  std::array<uint64_t, 128 * 128 / 64> ascii_joins_{};  // a bit for two ASCII characters that a merge puts side by side
  // For may_join(): a bit for the hash of two characters, or what a token holds of them, that a merge puts side by side;
  // and one for the last byte of the left and the first byte of the right token of merges that hold one in part.
  static constexpr int kJoinBits = 19;
  std::vector<uint64_t> joins_;
  std::array<uint64_t, 65536 / 64> part_joins_{};
  std::array<bool, 256> known_byte_{};
  size_t longest_token_ = 0;
  bool may_split_ = false;
  bool ignore_merges_ = false;
  bool fuse_unk_ = false;
  bool all_bytes_ = false;

  // Merges wait here until there are enough of them to look their tokens up side by side, so that the memory
  // they lie in is fetched while others are worked on.
  struct Pending {
    uint32_t begin = 0, middle = 0, end = 0;  // in pending_bytes_
    int32_t left = -1, right = -1, merged = -1;
    uint64_t left_hash = 0, right_hash = 0;
    size_t row = 0;
  };
  static constexpr size_t kPending = 64;
  std::vector<Pending> pending_;
  std::string pending_bytes_;
  int32_t last_merged_ = -1;
  std::optional<MissingMerge> missing_;
};

}  // namespace gavel
