#include "data/packing.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"

namespace gavel {

std::vector<std::vector<int64_t>> pack(std::span<const int64_t> lengths, int64_t capacity) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  auto length = [&](int64_t i) { return lengths[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  std::vector<std::vector<int64_t>> bins;
  std::set<std::pair<int64_t, size_t>> rooms;  // (room left, bin)
  for (int64_t item : order) {
    if (length(item) > capacity) fail("pack: an item of {} tokens does not fit into {}", length(item), capacity);
    auto place = rooms.lower_bound({length(item), 0});
    size_t bin = bins.size();
    int64_t room = capacity;
    if (place == rooms.end()) {
      bins.emplace_back();
    } else {
      room = place->first;
      bin = place->second;
      rooms.erase(place);
    }
    bins[bin].push_back(item);
    rooms.insert({room - length(item), bin});
  }
  for (auto& bin : bins) std::sort(bin.begin(), bin.end());
  std::sort(bins.begin(), bins.end());
  return bins;
}

std::vector<int64_t> choose_sizes(std::span<const int64_t> values, int64_t multiple, int64_t largest,
                                  int64_t max_sizes) {
  std::map<int64_t, int64_t> histogram;
  for (int64_t value : values)
    ++histogram[std::min((std::max<int64_t>(value, 1) + multiple - 1) / multiple * multiple, largest)];
  histogram.try_emplace(largest, 0);
  std::vector<int64_t> sizes, counts;
  for (auto [size, count] : histogram) {
    sizes.push_back(size);
    counts.push_back(count);
  }
  const size_t n = sizes.size();
  const size_t k = std::min(n, static_cast<size_t>(std::max<int64_t>(1, max_sizes)));
  // cost[j][i]: least total when the first i candidates are covered by j sizes, the last of them sizes[i -
  // 1].
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> cost(k + 1, std::vector<double>(n + 1, kNever));
  std::vector<std::vector<size_t>> from(k + 1, std::vector<size_t>(n + 1, 0));
  cost[0][0] = 0;
  for (size_t j = 1; j <= k; ++j)
    for (size_t i = 1; i <= n; ++i) {
      int64_t covered = 0;
      for (size_t p = i; p-- > 0;) {
        covered += counts[p];
        double total = cost[j - 1][p] + static_cast<double>(covered * sizes[i - 1]);
        if (total < cost[j][i]) {
          cost[j][i] = total;
          from[j][i] = p;
        }
      }
    }
  size_t best = 1;
  for (size_t j = 2; j <= k; ++j)
    if (cost[j][n] < cost[best][n]) best = j;
  std::vector<int64_t> out;
  for (size_t j = best, i = n; j > 0; i = from[j][i], --j) out.push_back(sizes[i - 1]);
  std::reverse(out.begin(), out.end());
  return out;
}

int64_t fitting_size(std::span<const int64_t> sizes, int64_t value) {
  auto place = std::lower_bound(sizes.begin(), sizes.end(), value);
  if (place == sizes.end()) fail("fitting_size: {} is above every size", value);
  return *place;
}

}  // namespace gavel
