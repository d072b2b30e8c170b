#pragma once
#include <array>
#include <functional>
#include <vector>

#include "data/batcher.h"
#include "engine/engine.h"

namespace gavel {

/** What a judge says of a dataset. */
struct Judgement {
  /** For each row of the dataset, in its own order A, B, tie also where it was judged exchanged; each sums to 1. */
  std::vector<Outcome> probabilities;
  /** The same before the softmax. */
  std::vector<Outcome> logits;
  /** The rewards of A and B, where the task has such; else empty. */
  std::vector<Rewards> rewards;
  int64_t labelled_rows = 0;
  /** Mean over labelled rows of -sum(label * log p); NaN without labels. */
  double log_loss = 0;
  /** Share of labelled rows whose most probable outcome is the label's largest. */
  double accuracy = 0;
};

/** Called after each batch with the number of rows done. */
using RowsDone = std::function<void(int64_t)>;

/** exp(logits / temperature), divided by their sum. */
Outcome softmax(const Outcome& logits, double temperature = 1);

/** Batches for judging every row of a dataset once, longest first: packed if `training` packs, else padded to a small
 * set of lengths. */
BatchOptions judging_options(const BatchOptions& training);

/** Judges every row of the batcher's dataset (made with judging_options). Throws Error that counts the rows of which the
 * model's numbers are not finite, and names one, by its place in the file, or by row_name(its place in the dataset). */
Judgement judge_dataset(Engine& engine, const Batcher& batcher, const RowsDone& done = {},
                        const std::function<std::string(int64_t)>& row_name = {});

/** The logit of a tie that gives ties their share of the labels where both answers have the same reward, and A and B the
 * logit 0; half a row is added to either side, so that it is finite. What a reward's tie starts from. */
double tie_logit_of(const TokenizedDataset& dataset);

/** The log loss of always answering the label shares of `dataset`: what a judge has to beat. */
double constant_log_loss(const TokenizedDataset& dataset);

}  // namespace gavel
