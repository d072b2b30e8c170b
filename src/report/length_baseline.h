#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace gavel {

/** Lengths of a labelled row's texts in bytes. */
struct TextLengths {
  int64_t prompt = 0, response_a = 0, response_b = 0, turns = 1;
  std::array<double, 3> label{};
};

struct BaselineScore {
  double log_loss = 0, accuracy = 0;
};

/** How well the texts' lengths alone predict who wins: multinomial logistic regression on the logarithms of the three
 * lengths, the distance between the answers' two, and the number of turns. Measured by five-fold cross-validation on
 * the rows (row i is in fold i mod 5), so no row is judged by a model that saw it; the weight decay is chosen within
 * the rows that are fitted. A judge that does not beat this has learnt little but lengths. NaN with fewer than ten
 * rows. */
BaselineScore length_baseline(std::span<const TextLengths> rows);

}  // namespace gavel
