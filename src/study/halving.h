#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gavel {

// Successive halving (Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016;
// Li et al., "Hyperband", 2018): all settings train for a few steps, the best 1/eta of them for eta times as many, and so on.

/** The steps after which settings are compared: first, first * eta, … below `total`, then `total`. */
std::vector<int64_t> rungs(int64_t first, int64_t eta, int64_t total);

/** Which of `alive` go on after a rung at which settings had these losses (by setting): the best max(1, n / eta), in their
 * order; of equals the earlier. Settings with a loss that is not finite do not go on. */
std::vector<size_t> survivors(const std::vector<size_t>& alive, const std::vector<double>& losses, int64_t eta);

}  // namespace gavel
