#include "baseline/pair_logistic.h"

#include <lbfgs.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"

namespace gavel {

namespace {

double score(std::span<const Term> terms, std::span<const double> weights) {
  double sum = 0;
  for (const Term& term : terms) sum += weights[term.index] * static_cast<double>(term.value);
  return sum;
}

/** Log of the sum of the outcomes' exponentials. */
double log_total(double lead, double tie, bool has_tie) {
  const double largest = std::max(std::abs(lead), has_tie ? tie : -INFINITY);
  double sum = std::exp(lead - largest) + std::exp(-lead - largest);
  if (has_tie) sum += std::exp(tie - largest);
  return largest + std::log(sum);
}

struct Problem {
  const PairRows& rows;
  std::span<const size_t> which;
  double penalty;

  /** The mean over the rows, so that one precision suits few and many. */
  double evaluate(std::span<const double> weights, std::span<double> gradient) const {
    std::fill(gradient.begin(), gradient.end(), 0.0);
    double value = 0;
    for (size_t row : which) {
      const Label& label = rows.label(row);
      const auto lead = rows.lead(row), tie = rows.tie(row);
      const double s = score(lead, weights), t = rows.has_tie() ? score(tie, weights) : 0;
      const double total = log_total(s, t, rows.has_tie()), weight = label[0] + label[1] + label[2];
      value += weight * total - (label[0] - label[1]) * s - label[2] * t;
      const double by_s = weight * (std::exp(s - total) - std::exp(-s - total)) - (label[0] - label[1]);
      for (const Term& term : lead) gradient[term.index] += by_s * static_cast<double>(term.value);
      if (!rows.has_tie()) continue;
      const double by_t = weight * std::exp(t - total) - label[2];
      for (const Term& term : tie) gradient[term.index] += by_t * static_cast<double>(term.value);
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      const double away = weights[i] - rows.centers()[i], strength = penalty * rows.strengths()[i];
      value += strength / 2 * away * away;
      gradient[i] += strength * away;
    }
    const auto count = static_cast<double>(which.size());
    for (double& one : gradient) one /= count;
    return value / count;
  }
};

}  // namespace

PairRows::PairRows(std::vector<double> centers, std::vector<double> strengths, bool has_tie)
    : centers_(std::move(centers)), strengths_(std::move(strengths)), has_tie_(has_tie) {}

void PairRows::add(std::span<const Term> lead, std::span<const Term> tie, const Label& label) {
  for (std::span<const Term> part : {lead, tie}) {
    terms_.insert(terms_.end(), part.begin(), part.end());
    ends_.push_back(terms_.size());
  }
  labels_.push_back(label);
}

Label pair_probabilities(double lead, double tie, bool has_tie) {
  const double total = log_total(lead, tie, has_tie);
  return {std::exp(lead - total), std::exp(-lead - total), has_tie ? std::exp(tie - total) : 0};
}

Label PairRows::probabilities(size_t row, std::span<const double> weights) const {
  return pair_probabilities(score(lead(row), weights), score(tie(row), weights), has_tie_);
}

double PairRows::loss(size_t row, std::span<const double> weights) const {
  const Label& y = labels_[row];
  const double s = score(lead(row), weights), t = has_tie_ ? score(tie(row), weights) : 0;
  return (y[0] + y[1] + y[2]) * log_total(s, t, has_tie_) - (y[0] - y[1]) * s - y[2] * t;
}

std::vector<double> fit_pairs(const PairRows& rows, std::span<const size_t> which, double penalty,
                              std::vector<double> start, double precision) {
  if (which.empty()) fail("logistic regression: there are no rows to fit");
  if (start.empty()) start = rows.centers();
  const Problem problem{rows, which, penalty};
  const auto count = static_cast<int>(rows.num_weights());
  std::unique_ptr<lbfgsfloatval_t, void (*)(lbfgsfloatval_t*)> weights(lbfgs_malloc(count), lbfgs_free);
  std::copy(start.begin(), start.end(), weights.get());
  lbfgs_parameter_t parameters;
  lbfgs_parameter_init(&parameters);
  parameters.epsilon = precision;
  parameters.max_iterations = 500;
  parameters.m = 10;
  auto evaluate = [](void* instance, const lbfgsfloatval_t* x, lbfgsfloatval_t* gradient, int n, lbfgsfloatval_t) {
    const auto size = static_cast<size_t>(n);
    return static_cast<const Problem*>(instance)->evaluate({x, size}, {gradient, size});
  };
  // It also ends where rounding lets no step go further down, which is as near as doubles come.
  lbfgs(count, weights.get(), nullptr, evaluate, nullptr, const_cast<Problem*>(&problem), &parameters);
  std::vector<double> found(weights.get(), weights.get() + count);
  for (double value : found)
    if (!std::isfinite(value)) fail("logistic regression: a weight came out as {}", value);
  return found;
}

}  // namespace gavel
