#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace gavel {

using Label = std::array<double, 3>;

/** One feature of a row that is not 0. */
struct Term {
  uint32_t index;
  float value;
};

/** Rows of a multinomial logistic regression on the outcomes A, B and tie, whose logits are s, -s and t: s is the sum
 * of weight * value over a row's `lead` terms, t over its `tie` terms, both of one list of weights. Where lead terms
 * change their sign when A and B are exchanged, and tie terms stay, exchanging the answers exchanges the
 * probabilities. */
class PairRows {
 public:
  /** `strengths`: how much of the penalty each weight feels (0 = none), drawing it towards its `centers`.
   * Without ties the outcomes are A and B alone. */
  PairRows(std::vector<double> centers, std::vector<double> strengths, bool has_tie);

  void add(std::span<const Term> lead, std::span<const Term> tie, const Label& label);

  size_t size() const { return labels_.size(); }
  size_t num_weights() const { return centers_.size(); }
  const std::vector<double>& centers() const { return centers_; }
  const std::vector<double>& strengths() const { return strengths_; }
  const Label& label(size_t row) const { return labels_[row]; }
  std::span<const Term> lead(size_t row) const { return between(2 * row); }
  std::span<const Term> tie(size_t row) const { return between(2 * row + 1); }
  bool has_tie() const { return has_tie_; }

  Label probabilities(size_t row, std::span<const double> weights) const;
  /** -sum(label * log p) of a row. */
  double loss(size_t row, std::span<const double> weights) const;

 private:
  std::span<const Term> between(size_t part) const {
    return std::span(terms_).subspan(ends_[part], ends_[part + 1] - ends_[part]);
  }
  std::vector<double> centers_, strengths_;
  bool has_tie_;
  std::vector<Term> terms_;
  std::vector<size_t> ends_ = {0};
  std::vector<Label> labels_;
};

/** Probabilities whose logits are lead, -lead and tie (tie is 0 without ties). */
Label pair_probabilities(double lead, double tie, bool has_tie);

/** The weights with the least sum of losses over these rows + penalty / 2 * sum(strength * (weight - center)^2), by
 * L-BFGS (Nocedal, 1980), from `start` (empty = the centers). `precision`: of the gradient's length over that of the
 * weights. */
std::vector<double> fit_pairs(const PairRows& rows, std::span<const size_t> which, double penalty,
                              std::vector<double> start = {}, double precision = 1e-7);

}  // namespace gavel
