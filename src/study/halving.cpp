#include "study/halving.h"

#include <algorithm>
#include <cmath>

namespace gavel {

std::vector<int64_t> rungs(int64_t first, int64_t eta, int64_t total) {
  std::vector<int64_t> steps;
  for (int64_t step = first; step < total; step *= eta) {
    steps.push_back(step);
    if (step > total / eta) break;  // the next is beyond the end, or beyond the type
  }
  steps.push_back(total);
  return steps;
}

std::vector<size_t> survivors(const std::vector<size_t>& alive, const std::vector<double>& losses, int64_t eta) {
  std::vector<size_t> best;
  for (size_t setting : alive)
    if (std::isfinite(losses[setting])) best.push_back(setting);
  std::stable_sort(best.begin(), best.end(), [&](size_t a, size_t b) { return losses[a] < losses[b]; });
  const size_t kept = std::max<size_t>(1, alive.size() / static_cast<size_t>(eta));
  best.resize(std::min(best.size(), kept));
  std::sort(best.begin(), best.end());
  return best;
}

}  // namespace gavel
