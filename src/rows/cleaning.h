#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gavel {

struct PreferenceRow;

/** Known oddities of preference files. */
enum class Oddity : uint8_t {
  kBothNull,       // both responses are null; dropped in training
  kNullTurn,       // a null turn became an empty string
  kEmptyResponse,  // a response without any text; kept
  kLoneSurrogate,  // half of a UTF-16 pair became U+FFFD
  kInvalidUtf8,    // invalid bytes became U+FFFD
  kUnequalTurns,   // prompt and responses differ in their number of turns; kept
  kNotJson,        // a cell that is no list of texts or messages; dropped in training, taken as plain text else
  kBadLabel,       // no label, or one that is no probability; dropped in training
  kLabelSum,       // labels that do not sum to 1 were divided by their sum
  kDuplicate,      // same texts and label as an earlier row (A and B exchanged counts too); kept unless asked otherwise
  kIdentical,      // both answers are the same text; kept
  kContradictory,  // same texts as an earlier row (A and B exchanged counts too), another label; kept
  kZeroWeight,     // the row's weight is 0; dropped in training
};
inline constexpr size_t kNumOddities = 13;

/** For people: "both responses null", … */
std::string_view oddity_name(Oddity oddity);
/** For files that programs read: "both_null", … */
std::string_view oddity_key(Oddity oddity);

/** What was odd in a file, and what was done about it. */
struct CleaningReport {
  struct Entry {
    int64_t rows = 0;                 // rows that have it
    int64_t occurrences = 0;          // a row can have several null turns, surrogates, invalid bytes
    int64_t dropped = 0;              // rows dropped for it
    std::vector<int64_t> first_rows;  // up to three source rows
  };
  int64_t rows_read = 0;
  int64_t rows_kept = 0;
  std::array<Entry, kNumOddities> entries;
  /** Labels that are not known, as the file has them, with their rows; of the others beyond the first kMostLabels none is
   * named. */
  static constexpr size_t kMostLabels = 100;
  std::map<std::string, int64_t> unknown_labels;
  /** Why the first rows with Oddity::kNotJson have it: "row 3: key 'chosen': …". */
  static constexpr size_t kMostReasons = 3;
  std::vector<std::string> unreadable;

  const Entry& operator[](Oddity oddity) const { return entries[static_cast<size_t>(oddity)]; }
  /** Counts a row with this oddity, which it has in `occurrences` places; `drops`: the row is dropped for it. */
  void count(Oddity oddity, int64_t row, int64_t occurrences, bool drops);
  void count_unknown_label(const std::string& label);
  void add_unreadable(int64_t row, const std::string& why);
  /** Rows dropped because they can't be learnt from; second copies and those of weight 0 are dropped by wish. */
  int64_t unusable_rows() const;
  /** Counts those of another file too; its rows are not named. */
  void add(const CleaningReport& other);
  /** Lines for the terminal: rows read and kept, then one line per oddity met. */
  std::string format() const;
};

/** A row's texts as 128 bits, the same for the row with A and B exchanged. */
struct PairFingerprint {
  uint64_t high = 0, low = 0;
  /** Whether the hash was made with A and B exchanged. */
  bool exchanged = false;
  bool identical_answers = false;
};
PairFingerprint fingerprint(const PreferenceRow& row);

/** Finds rows that repeat or contradict an earlier one. Rows are added in file order. */
class RepeatFinder {
 public:
  struct Result {
    bool duplicate = false, contradictory = false;
  };
  Result add(const PairFingerprint& fingerprint, std::array<float, 3> label);

 private:
  struct Key {
    uint64_t high, low;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const { return static_cast<size_t>(key.low); }
  };
  /** The label of each pair's first row, exchanged where the fingerprint was. */
  std::unordered_map<Key, std::array<float, 3>, Hash> seen_;
};

/** A 64-bit hash of text for grouping and duplicate search, the same on every machine; not safe against texts that are
 * made to collide. Another `seed` gives another hash of the same text. */
uint64_t hash_text(std::string_view text, uint64_t seed);
/** The hash of a list of turns: ["a b"] and ["a", "b"] differ. */
uint64_t hash_turns(const std::vector<std::string>& turns, uint64_t seed);

}  // namespace gavel
