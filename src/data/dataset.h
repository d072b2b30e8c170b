#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/encode.h"
#include "data/shared_rows.h"

namespace gavel {

/** What an auxiliary head tells apart. */
struct AuxiliaryClasses {
  /** Of the classes, the most frequent first; the last may be all rare values together. */
  std::vector<std::string> names;
  /** The class of each of DatasetParts::auxiliary_values. */
  std::vector<int32_t> class_of;
};

/** What a TokenizedDataset is made of. Lists have an entry for each row unless said otherwise. */
struct DatasetParts {
  /** Texts of each row: 1, or 2 when each is followed by its text with A and B exchanged. */
  int64_t variants = 1;
  int32_t pad_id = 0;
  /** The tokens of all texts, one after another; `tokens_owner` keeps them valid. */
  std::span<const int32_t> tokens;
  std::shared_ptr<const void> tokens_owner;
  /** Start of each text's tokens, rows * variants of them and one more at the end. */
  std::vector<int64_t> offsets{0};
  std::vector<std::array<float, 3>> labels;
  std::vector<float> weights, margins, scores;
  /** What a teacher says of each row, all 0 where it says nothing; rows beyond the end have none. */
  std::vector<std::array<float, 3>> teachers;
  /** Of both answers of each row the place in auxiliary_values, -1 for none; rows beyond the end have none. */
  std::vector<std::array<int32_t, 2>> auxiliary;
  std::vector<std::string> auxiliary_values;
  /** Rows of several files are counted on from one to the next. */
  std::vector<int64_t> source_rows, full_lengths;
  /** For each file the source rows of those before it; empty = one file. */
  std::vector<int64_t> rows_before;
};

/** Rows as tokens, with what batching needs; immutable. Copies share the data. */
class TokenizedDataset {
 public:
  explicit TokenizedDataset(DatasetParts parts);

  int64_t num_rows() const;
  /** Tokens of a row, at least one; with `swap` those of its A/B exchange. Throws Error for a row that is not there, or
   * for `swap` without has_swapped(). */
  std::span<const int32_t> tokens(int64_t row, bool swap = false) const;
  int64_t length(int64_t row, bool swap = false) const;
  /** Tokens before truncation (not exchanged). */
  int64_t full_length(int64_t row) const;
  /** {A, B, tie}; all zero when the row has no label. */
  std::array<float, 3> label(int64_t row, bool swap = false) const;
  /** What training makes of the label: with with_teacher() the mix of both, or the teacher's alone where there is no label. */
  std::array<float, 3> target(int64_t row, bool swap = false) const;
  bool has_teacher(int64_t row) const;
  /** Classes of an auxiliary head, and the class of an answer (0 = A, 1 = B; exchanged with `swap`), -1 for none. Both are there
   * after with_auxiliary(). */
  int64_t num_auxiliary_classes() const;
  const AuxiliaryClasses* auxiliary_classes() const { return auxiliary_.get(); }
  int32_t auxiliary_class(int64_t row, size_t answer, bool swap = false) const;
  /** The values that the classes are made of, and an answer's place among them, -1 for none. */
  const std::vector<std::string>& auxiliary_values() const { return parts_->auxiliary_values; }
  int32_t auxiliary_value(int64_t row, size_t answer) const;
  /** How much the row counts in training's loss. */
  float weight(int64_t row) const;
  /** By how much the better answer's reward is to be ahead in training. */
  float margin(int64_t row) const;
  /** Of a single answer; NaN when the row has none. */
  float score(int64_t row) const;
  /** The row's number in the file it came from, counted on over the files where there are several. */
  int64_t source_row(int64_t row) const;
  /** The place of that file in the list of files, and the row's number in it. */
  std::pair<size_t, int64_t> source(int64_t row) const;
  bool has_swapped() const { return parts_->variants == 2; }
  int32_t pad_id() const { return parts_->pad_id; }
  std::vector<int64_t> lengths() const;
  std::vector<int64_t> full_lengths() const;
  /** The same with a factor on the weights of each file's rows. */
  TokenizedDataset with_file_weights(std::vector<float> factors) const;
  /** The same with targets that are `weight` of what a teacher says and the rest of the label, where there is a teacher: the
   * cross-entropy to that is, but for a constant, both losses mixed so (Hinton et al., 2015). */
  TokenizedDataset with_teacher(double weight) const;
  TokenizedDataset with_auxiliary(AuxiliaryClasses classes) const;
  /** The given rows in the given order, sharing the tokens. */
  TokenizedDataset subset(std::span<const int64_t> rows) const;

 private:
  size_t at(int64_t row) const;

  std::shared_ptr<const DatasetParts> parts_;
  std::shared_ptr<const std::vector<int64_t>> index_;  // of a subset
  std::shared_ptr<const std::vector<float>> file_weights_;
  std::optional<double> teacher_weight_;
  std::shared_ptr<const AuxiliaryClasses> auxiliary_;
};

/** Classes of the values that the answers of these rows have: each value of `least` answers or more, the most frequent first, but
 * at most `most` classes; the values beyond those are one class, "other". Throws Error when that leaves less than two classes. */
AuxiliaryClasses choose_auxiliary_classes(const TokenizedDataset& rows, int64_t least = 20, int64_t most = 256);

struct TokenizeOptions : EncodeOptions {
  /** Makes tokens of a row; a Task puts its own function here, and its name, which tokens in the cache are known by. */
  std::function<EncodedText(const PreferenceRow&, bool swap, const EncodeOptions&, const TextEncoder&)> encode =
      encode_row;
  std::string task = "judge";
  /** Also encode every row with A and B exchanged (for swaps in training and swap averaging). */
  bool with_swapped = false;
  /** 0 = all cores. */
  int threads = 0;
  /** This process's part of the work. */
  TokenizeShare share;
};

/** Collects tokenized rows in order. */
class DatasetBuilder {
 public:
  /** With `sink`, tokens go there and are not kept: the end is then take_parts(), not finish(). */
  using TokenSink = std::function<void(std::span<const int32_t>)>;
  DatasetBuilder(TokenizeOptions options, const TextEncoder& encoder, TokenSink sink = {});
  /** Says that rows to come are of another file, before which `rows` have been read. */
  void begin_file(int64_t rows) { parts_.rows_before.push_back(rows); }
  /** Tokenizes the rows on all threads and appends them; with several processes, each calls it with the same rows. */
  void add(std::span<const PreferenceRow> rows);
  /** Appends one row that is tokens already; `swapped` is needed with with_swapped. Throws Error for more than
   * max_length tokens. */
  void add_tokens(std::vector<int32_t> tokens, std::array<float, 3> label, std::vector<int32_t> swapped = {});
  TokenizedDataset finish();
  /** With a sink: everything but the tokens. */
  DatasetParts take_parts();

 private:
  TokenizeOptions options_;
  TextEncoder encoder_;
  TokenSink sink_;
  int32_t place_of(const std::string& value);

  std::vector<int32_t> tokens_;
  DatasetParts parts_;
  std::unordered_map<std::string, int32_t> auxiliary_places_;
};

/** All rows at once. */
TokenizedDataset tokenize(std::span<const PreferenceRow> rows, const TokenizeOptions& options,
                          const TextEncoder& encoder);

}  // namespace gavel
