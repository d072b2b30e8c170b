#include "report/length_baseline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace gavel {

namespace {

constexpr size_t kFeatures = 6, kClasses = 3, kFolds = 5;
constexpr int kIterations = 400;
/** Weights are drawn towards zero as by one of these numbers of rows, whichever predicts rows held out of the
 * fit best; a few dozen rows would else be learnt by heart. With many rows it makes no difference. */
constexpr std::array<double, 4> kPriorRows = {0.1, 1, 10, 100};
constexpr size_t kManyRows = 2000;

using Features = std::array<double, kFeatures>;
using Weights = std::array<Features, kClasses>;
using Label = std::array<double, kClasses>;

Features features_of(const TextLengths& row) {
  double prompt = std::log1p(static_cast<double>(row.prompt)), a = std::log1p(static_cast<double>(row.response_a)),
         b = std::log1p(static_cast<double>(row.response_b));
  return {1, prompt, a, b, std::abs(a - b), std::log1p(static_cast<double>(row.turns))};
}

Label probabilities(const Weights& weights, const Features& x) {
  Label z{};
  for (size_t c = 0; c < kClasses; ++c)
    for (size_t f = 0; f < kFeatures; ++f) z[c] += weights[c][f] * x[f];
  double largest = *std::max_element(z.begin(), z.end()), sum = 0;
  for (double& value : z) sum += value = std::exp(value - largest);
  for (double& value : z) value /= sum;
  return z;
}

using Folds = std::array<bool, kFolds>;

/** Fits the rows of all folds but those left out. Features are standardised, so one step size fits all. */
Weights fit(const std::vector<Features>& x, std::span<const TextLengths> rows, const Folds& left_out,
            double prior_rows) {
  double count = 0;
  for (size_t i = 0; i < x.size(); ++i) count += !left_out[i % kFolds];
  // The loss curves at most by half the mean squared length of a row, kFeatures here.
  const double decay = prior_rows / count, step = 1 / (0.5 * kFeatures + decay);
  Weights weights{}, previous{}, ahead{};
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    double momentum = static_cast<double>(iteration) / (iteration + 3);
    for (size_t c = 0; c < kClasses; ++c)
      for (size_t f = 0; f < kFeatures; ++f) ahead[c][f] = weights[c][f] + momentum * (weights[c][f] - previous[c][f]);
    Weights gradient{};
    for (size_t i = 0; i < x.size(); ++i) {
      if (left_out[i % kFolds]) continue;
      Label p = probabilities(ahead, x[i]);
      for (size_t c = 0; c < kClasses; ++c)
        for (size_t f = 0; f < kFeatures; ++f) gradient[c][f] += (p[c] - rows[i].label[c]) * x[i][f];
    }
    previous = weights;
    for (size_t c = 0; c < kClasses; ++c)
      for (size_t f = 0; f < kFeatures; ++f)
        weights[c][f] = ahead[c][f] - step * (gradient[c][f] / count + decay * ahead[c][f]);
  }
  return weights;
}

/** Sums over the rows of one fold. */
BaselineScore score_fold(const Weights& weights, const std::vector<Features>& x, std::span<const TextLengths> rows,
                         size_t fold) {
  BaselineScore sum;
  for (size_t i = fold; i < x.size(); i += kFolds) {
    Label p = probabilities(weights, x[i]);
    for (size_t c = 0; c < kClasses; ++c)
      if (rows[i].label[c] > 0) sum.log_loss -= rows[i].label[c] * std::log(p[c]);
    auto best = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
    sum.accuracy += rows[i].label[best] == *std::max_element(rows[i].label.begin(), rows[i].label.end());
  }
  return sum;
}

/** For each fold the prior that does best on the others, each of them held out in turn: the fold itself has
 * no say. */
std::array<double, kFolds> choose_priors(const std::vector<Features>& x, std::span<const TextLengths> rows) {
  std::array<double, kFolds> chosen{};
  chosen.fill(kPriorRows[0]);
  if (x.size() >= kManyRows) return chosen;
  std::array<double, kFolds> least{};
  least.fill(std::numeric_limits<double>::infinity());
  for (double prior : kPriorRows) {
    std::array<double, kFolds> losses{};
    for (size_t one = 0; one < kFolds; ++one)
      for (size_t two = one + 1; two < kFolds; ++two) {
        Folds left_out{};
        left_out[one] = left_out[two] = true;
        Weights weights = fit(x, rows, left_out, prior);
        losses[one] += score_fold(weights, x, rows, two).log_loss;
        losses[two] += score_fold(weights, x, rows, one).log_loss;
      }
    for (size_t fold = 0; fold < kFolds; ++fold)
      if (losses[fold] < least[fold]) {
        least[fold] = losses[fold];
        chosen[fold] = prior;
      }
  }
  return chosen;
}

}  // namespace

BaselineScore length_baseline(std::span<const TextLengths> rows) {
  if (rows.size() < 2 * kFolds) return {std::nan(""), std::nan("")};
  std::vector<Features> x;
  for (const TextLengths& row : rows) x.push_back(features_of(row));
  auto count = static_cast<double>(x.size());
  for (size_t f = 1; f < kFeatures; ++f) {
    double mean = 0, square = 0;
    for (const Features& row : x) mean += row[f] / count;
    for (const Features& row : x) square += (row[f] - mean) * (row[f] - mean) / count;
    double scale = square > 1e-12 ? 1 / std::sqrt(square) : 0;
    for (Features& row : x) row[f] = (row[f] - mean) * scale;
  }
  BaselineScore score;
  std::array<double, kFolds> priors = choose_priors(x, rows);
  for (size_t fold = 0; fold < kFolds; ++fold) {
    Folds left_out{};
    left_out[fold] = true;
    BaselineScore sum = score_fold(fit(x, rows, left_out, priors[fold]), x, rows, fold);
    score.log_loss += sum.log_loss;
    score.accuracy += sum.accuracy;
  }
  score.log_loss /= count;
  score.accuracy /= count;
  return score;
}

}  // namespace gavel
