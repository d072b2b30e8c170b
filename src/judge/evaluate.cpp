#include "judge/evaluate.h"

#include <algorithm>
#include <cmath>

namespace gavel {

Outcome softmax(const Outcome& logits, double temperature) {
  double largest = *std::max_element(logits.begin(), logits.end());
  Outcome p{};
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) sum += p[i] = std::exp((logits[i] - largest) / temperature);
  for (double& value : p) value /= sum;
  return p;
}

BatchOptions judging_options(const BatchOptions& training) {
  BatchOptions options = training;
  options.batching = training.batching == Batching::kPacked ? Batching::kPacked : Batching::kBucketed;
  options.gradient_accumulation = 1;
  options.swap = Swap::kNone;
  options.shuffle = false;
  options.drop_last = false;
  options.drop_before_shuffle = false;
  options.sort_by_length = true;
  return options;
}

Judgement judge_dataset(Engine& engine, const Batcher& batcher, const RowsDone& done,
                        const std::function<std::string(int64_t)>& row_name) {
  const TokenizedDataset& dataset = batcher.dataset();
  const Task& task = *engine.options().task;
  const auto outputs = static_cast<size_t>(task.num_outputs());
  Judgement result;
  result.probabilities.resize(static_cast<size_t>(dataset.num_rows()));
  result.logits.resize(result.probabilities.size());
  double loss = 0, correct = 0;
  int64_t rows_done = 0;
  std::vector<int64_t> not_finite;
  for (int64_t step = 0; step < batcher.steps_per_epoch(); ++step) {
    for (const Batch& batch : batcher.step(step).micro) {
      Evaluation found = engine.evaluate(batch);
      auto logits = found.logits.as<float>();
      auto losses = found.losses.as<float>();
      for (size_t i = 0; i < batch.row_indices.size(); ++i) {
        const auto row_outputs = logits.subspan(i * outputs, outputs);
        if (!std::ranges::all_of(row_outputs, [](float x) { return std::isfinite(x); }))
          not_finite.push_back(batch.row_indices[i]);
        Outcome row_logits = task.outcome_logits(row_outputs);
        if (auto rewards = task.rewards(row_outputs)) {
          result.rewards.resize(result.logits.size());
          result.rewards[static_cast<size_t>(batch.row_indices[i])] = *rewards;
        }
        if (task.reads_scores()) {
          const float score = dataset.score(batch.row_indices[i]);
          if (std::isnan(score)) continue;
          ++result.labelled_rows;
          loss += losses[i];
          correct += task.scored_rightly(row_outputs[0], score);
          continue;
        }
        Outcome p = softmax(row_logits);
        auto label = dataset.label(batch.row_indices[i], batch.swapped[i] != 0);
        double weight = label[0] + label[1] + label[2];
        if (weight > 0) {
          ++result.labelled_rows;
          loss += losses[i];
          auto best = std::max_element(p.begin(), p.end()) - p.begin();
          if (label[static_cast<size_t>(best)] == *std::max_element(label.begin(), label.end())) correct += 1;
        }
        if (batch.swapped[i] != 0) {
          p = task.swapped(p);
          row_logits = task.swapped(row_logits);
        }
        result.probabilities[static_cast<size_t>(batch.row_indices[i])] = p;
        result.logits[static_cast<size_t>(batch.row_indices[i])] = row_logits;
      }
      rows_done += batch.num_rows;
    }
    if (done) done(rows_done);
  }
  if (!not_finite.empty()) {
    const int64_t row = std::ranges::min(not_finite);
    fail(
        "{}{}: the model's numbers are not finite (NaN or infinity), so nothing can be said; weights, lora_alpha or "
        "rope "
        "settings are too large, or training went astray",
        row_name ? row_name(row) : fmt::format("row {}", dataset.source_row(row)),
        not_finite.size() > 1 ? fmt::format(" and {} more of {} rows", not_finite.size() - 1, dataset.num_rows()) : "");
  }
  auto count = static_cast<double>(result.labelled_rows);
  result.log_loss = loss / count;
  result.accuracy = correct / count;
  return result;
}

namespace {

/** Sums of the labels' probabilities. */
std::array<double, 3> label_sums(const TokenizedDataset& dataset) {
  std::array<double, 3> sums{};
  for (int64_t row = 0; row < dataset.num_rows(); ++row) {
    auto label = dataset.label(row);
    for (size_t i = 0; i < 3; ++i) sums[i] += label[i];
  }
  return sums;
}

}  // namespace

double tie_logit_of(const TokenizedDataset& dataset) {
  const auto [a, b, tie] = label_sums(dataset);
  return std::log(2 * (tie + 0.5) / (a + b + 0.5));
}

double constant_log_loss(const Task& task, const TokenizedDataset& dataset) {
  if (task.reads_scores()) {
    double sum = 0, squares = 0, count = 0;
    for (int64_t row = 0; row < dataset.num_rows(); ++row)
      if (const double score = dataset.score(row); !std::isnan(score)) {
        sum += score;
        squares += score * score;
        ++count;
      }
    return task.constant_score_loss(sum / count, squares / count);
  }
  const std::array<double, 3> sums = label_sums(dataset);
  const double total = sums[0] + sums[1] + sums[2];
  double loss = 0;
  for (double sum : sums)
    if (sum > 0) loss -= sum / total * std::log(sum / total);
  return loss;
}

}  // namespace gavel
