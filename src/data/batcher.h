#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/tensor.h"
#include "data/dataset.h"
#include "rows/choices.h"

namespace gavel {

struct BatchOptions {
  /** 3: labels are A, B and tie; 2: A and B alone, of rows that were read with Ties::kHalfEach. */
  int64_t num_labels = 3;
  /** Labels are the rows' scores instead; num_labels is 1. */
  bool scores = false;
  /** 2: each row comes as both of its texts, in one micro-batch, and `swap` must be kNone. A row then takes two sequences
   * of a padded batch, or two segments of a packed one. */
  int64_t texts_per_row = 1;
  /** kPacked with two texts a row: the tokens that both begin with stand once, and segments are numbered as in
   * base/segments.h. A row that then does not fit into max_length with both texts (without one_sequence) is as it is
   * without this. */
  bool share_prefixes = false;
  Batching batching = Batching::kPadded;
  /** Rows of a micro-batch; times gradient_accumulation = rows of an optimizer step. */
  int64_t batch_size = 16;
  int64_t gradient_accumulation = 1;
  /** Longest row, and the length of packed sequences. */
  int64_t max_length = 1024;
  /** kPadded: 0 pads to max_length; else to the longest row of the micro-batch, rounded up to a multiple of
   * this. */
  int64_t pad_to = 0;
  /** kBucketed: at most this many lengths, multiples of bucket_multiple, chosen from the data. */
  int64_t max_buckets = 6;
  int64_t bucket_multiple = 64;
  /** kBucketed: these lengths (rising, the last max_length) instead of chosen ones, so that several datasets share
   * their programs. */
  std::vector<int64_t> bucket_lengths;
  /** kPacked: at most this many different numbers of sequences in a micro-batch. */
  int64_t max_packed_sizes = 4;
  /** kPacked: all rows of a micro-batch in one sequence, whose lengths (multiples of bucket_multiple, at most
   * max_joined_lengths of them) are chosen from the data. Least padding, but only for an attention whose cost does not
   * grow with the square of the sequence (the CPU kernels); needs sequence_multiple 1. */
  bool one_sequence = false;
  int64_t max_joined_lengths = 8;
  /** kPacked: deal rows to steps so that all steps have about the same number of tokens; without it a step has the rows
   * that it has with kPadded. sort_by_length (without shuffle) deals them so in any case. */
  bool balance = false;
  Swap swap = Swap::kNone;
  uint64_t seed = 0;
  /** Training: shuffle = drop_last = true. Evaluation and prediction: both false; every row comes once. */
  bool shuffle = true;
  bool drop_last = true;
  /** The reference notebook drops the file's last rows (N mod rows of a step) before it shuffles; else the epoch's last
   * go. */
  bool drop_before_shuffle = false;
  /** With shuffle: the order of the first epoch. kLength: a step draws its rows, without putting any back, from the shortest share
   * c of all rows, where c rises from 0.01 to 1 as the square root of the steps done, over `curriculum_steps` steps (0 = the
   * epoch). Later epochs are as ever. */
  Curriculum curriculum = Curriculum::kNone;
  int64_t curriculum_steps = 0;
  /** Without shuffle: longest rows first (the largest batch comes first, and padding is least). */
  bool sort_by_length = false;
  /** Sequences of a micro-batch come in multiples of this (mesh: dp * fsdp); filled up with empty ones. */
  int64_t sequence_multiple = 1;
};

/** One micro-batch. Sequences are `batch` x `length`; rows (pairs to judge) are gathered from them. */
struct Batch {
  /** i32 [batch, length]. pad_id (0 when negative) on padding. */
  HostTensor input_ids;
  /** i32 [batch, length]: position in the row, restarts with each row; 0 on padding. */
  HostTensor positions;
  /** i32 [batch, length]: 0 on padding, else 1, 2, … per row of the sequence, or with share_prefixes the numbers of
   * base/segments.h. Tokens attend within a segment, and to its prefix. */
  HostTensor segment_ids;
  /** i32 [batch, length]: the text's index in the optimizer step (0 on padding), the same for every batching
   * kind, so that dropout masks do not depend on it; the first text's for a prefix that two share. */
  HostTensor dropout_rows;
  /** i32 [rows * texts_per_row], a row's texts side by side: flat index into batch * length of the token the head
   * reads: the rightmost of the text that differs from pad_id, the row's first when all are pads, as transformers 5 has it
   * (LlamaForSequenceClassification); with a negative pad_id the row's last. 0 for filler rows. */
  HostTensor last_index;
  /** f32 [rows, num_labels]: probabilities of outcomes, or scores; zero for filler rows and rows without a label. */
  HostTensor labels;
  /** f32 [rows]: the dataset's weight of each row, and 0 for filler rows. */
  HostTensor weights;
  /** f32 [rows]: the dataset's margin of each row. */
  HostTensor margins;
  /** f32 [rows * 2, classes], a row's answers side by side: 1 at the answer's class, all 0 where it has none; empty unless the
   * dataset has auxiliary classes. */
  HostTensor auxiliary;
  int64_t num_rows = 0;         // real rows
  int64_t num_tokens = 0;       // batch * length
  int64_t num_real_tokens = 0;  // without padding
  /** Of the real rows, in the order of `labels`: row of the dataset, and whether A and B are exchanged. */
  std::vector<int64_t> row_indices;
  std::vector<uint8_t> swapped;
};

/** The micro-batches of one optimizer step. */
struct StepBatches {
  std::vector<Batch> micro;
  /** Real rows of all of them. */
  int64_t num_rows = 0;
  /** Sum of their weights, num_rows when each is 1: the loss divides by this. */
  double weight = 0;
};

/** The sizes that a program is compiled for. */
struct BatchShape {
  int64_t sequences = 0, length = 0, rows = 0;
  bool operator==(const BatchShape&) const = default;
};

struct PaddingWaste {
  int64_t tokens = 0, real_tokens = 0, micro_batches = 0;
  double wasted() const { return tokens == 0 ? 0 : 1 - static_cast<double>(real_tokens) / static_cast<double>(tokens); }
};

/** Makes batches as a pure function of (dataset, options, step): any step can be made alone, from any thread. */
class Batcher {
 public:
  /** Throws Error when the options do not fit each other or the dataset has too few rows for one step. */
  Batcher(TokenizedDataset dataset, BatchOptions options);

  const TokenizedDataset& dataset() const { return dataset_; }
  const BatchOptions& options() const { return options_; }
  /** The same for every epoch. */
  int64_t steps_per_epoch() const { return steps_; }
  int64_t rows_per_step() const { return options_.batch_size * options_.gradient_accumulation; }
  /** Step number `step` of the whole run; step / steps_per_epoch() is its epoch. */
  StepBatches step(int64_t step) const;
  /** All shapes that step() may return. */
  std::vector<BatchShape> shapes() const;
  /** The shapes of one epoch's first `steps` steps, each once, without building the steps. */
  std::vector<BatchShape> epoch_shapes(int64_t epoch, int64_t steps) const;
  /** Tokens that both texts of a row begin with and that stand once; 0 without share_prefixes. */
  int64_t prefix(int64_t row) const { return prefixes_.empty() ? 0 : prefixes_[static_cast<size_t>(row)]; }
  /** The part of all texts' tokens that prefixes save, by rows that share theirs wherever they are put. */
  double shared() const;
  /** Tokens with and without padding of one epoch, without building it. */
  PaddingWaste waste(int64_t epoch = 0) const;

 private:
  /** A row as it enters a step. */
  struct Item {
    int64_t row = 0;
    bool swap = false;
    int64_t step_index = 0;  // in the optimizer step
  };
  /** One text of a row, in a sequence. */
  struct Text {
    Item item;
    bool second = false;  // the text that `swap` gives
    size_t place = 0;     // in last_index
    int64_t prefix = 0;   // tokens at its beginning that stand once, with the row's first text, for both
  };
  using Sequence = std::vector<Text>;
  /** One micro-batch: its rows in the order of their labels, and where their texts are. */
  struct Layout {
    std::vector<Item> rows;
    std::vector<Sequence> sequences;
    BatchShape shape;
  };
  struct Epoch {
    int64_t number = -1;
    std::vector<Item> items;
  };

  std::shared_ptr<const Epoch> epoch(int64_t number) const;
  std::vector<Item> order_epoch(int64_t number) const;
  /** The steps that sizes are chosen by. */
  void each_usual_step(const std::function<void(const std::vector<Item>&)>& take) const;
  /** Whether the epoch's rows come from short to long. */
  bool rises(int64_t number) const {
    return number == 0 && options_.shuffle && options_.curriculum == Curriculum::kLength;
  }
  /** All of the shuffled rows in such an order, `per_step` of them a step. */
  std::vector<int64_t> rising_order(std::vector<int64_t> rows, size_t per_step) const;
  /** Steps whose rows are sorted by length together. */
  size_t stretch_of(size_t steps, int64_t number) const;
  /** Shuffles the steps among each other, where rows rise within each stretch. */
  void mix_steps(std::vector<std::vector<Item>>& steps, int64_t number) const;
  void group_by_length(std::vector<Item>& items, int64_t number) const;
  void balance_steps(std::vector<Item>& items, int64_t number) const;
  std::vector<Item> step_items(const Epoch& epoch, int64_t step_in_epoch) const;
  std::vector<Layout> lay_out(std::vector<Item> items) const;
  std::vector<Layout> lay_out_packed(const std::vector<Item>& items) const;
  /** Layouts whose rows are `items`, so many in each; without sequences. */
  std::vector<Layout> split(const std::vector<Item>& items, int64_t rows) const;
  /** The layouts of kPacked with their sequences; without shapes. */
  std::vector<Layout> split_packed(const std::vector<Item>& items) const;
  /** All texts of a layout's rows, in the order of last_index. */
  std::vector<Text> texts_of(const Layout& layout) const;
  /** The same cut into what has to be in one sequence: a text, or both of a row when they share their beginning. */
  std::vector<Sequence> units_of(const Layout& layout) const;
  /** Tokens of the micro-batch that starts at item `begin`. */
  int64_t total_length(const std::vector<Item>& items, size_t begin) const;
  Batch build(const Layout& layout) const;
  /** Places that a row's texts take, or one of them. */
  int64_t length(const Item& item) const;
  int64_t length(const Text& text) const {
    return dataset_.length(text.item.row, text.second) - (text.second ? text.prefix : 0);
  }

  TokenizedDataset dataset_;
  BatchOptions options_;
  int64_t steps_ = 0;
  int64_t longest_ = 1;
  std::vector<int32_t> prefixes_;
  std::vector<int64_t> sizes_;  // kBucketed, one_sequence: lengths; kPacked else: numbers of sequences
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Epoch> last_epoch_;
};

}  // namespace gavel
