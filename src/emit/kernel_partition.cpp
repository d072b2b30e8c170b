#include "emit/kernel_partition.h"

#include <algorithm>

#include "base/error.h"

namespace gavel {

namespace {

/** The letters of an array of this rank. */
std::string letters(const std::string& pattern, size_t rank) {
  std::string out;
  size_t fixed = pattern.size() - static_cast<size_t>(std::count(pattern.begin(), pattern.end(), '*'));
  for (char c : pattern) {
    if (c == '*')
      out.append(rank > fixed ? rank - fixed : 0, '.');
    else
      out += c;
  }
  return out;
}

/** Letters of each array. Operands may be left out and arrays have any rank, so a pattern of another rank than its array
 * means that all of it is whole. */
std::vector<std::string> letters_of(const std::vector<std::string>& patterns, const std::vector<TensorType>& types) {
  std::vector<std::string> all;
  for (size_t i = 0; i < types.size(); ++i) {
    std::string found = letters(patterns[i], types[i].shape.size());
    if (found.size() != types[i].shape.size()) found.assign(types[i].shape.size(), '.');
    all.push_back(std::move(found));
  }
  return all;
}

}  // namespace

KernelPartition partition_kernel(const Mesh& mesh, const KernelDimensions& dimensions,
                                 const std::vector<TensorType>& operands, const std::vector<TensorType>& results) {
  if (operands.size() > dimensions.operands.size() || results.size() != dimensions.results.size())
    fail("partition_kernel: {} operands and {} results, dimensions are stated for {} and {}", operands.size(),
         results.size(), dimensions.operands.size(), dimensions.results.size());
  std::vector<std::string> in = letters_of(dimensions.operands, operands),
                           out = letters_of(dimensions.results, results);
  // A letter is split only where every dimension that has it divides.
  auto divides = [&](char letter, int64_t parts) {
    auto all = [&](const std::vector<TensorType>& types, const std::vector<std::string>& names) {
      for (size_t i = 0; i < types.size(); ++i)
        for (size_t d = 0; d < names[i].size(); ++d)
          if (names[i][d] == letter && types[i].shape[d] % parts != 0) return false;
      return true;
    };
    return all(operands, in) && all(results, out);
  };
  std::vector<std::string> batch = mesh.batch_axes();
  if (!divides('t', mesh.batch_parts())) batch.clear();
  auto over_mp = [&](char letter) {
    return mesh.mp > 1 && divides(letter, mesh.mp) ? std::vector<std::string>{"mp"} : std::vector<std::string>();
  };
  const std::vector<std::string> heads = over_mp('h'), features = over_mp('f');
  auto axes = [&](const std::string& names) {
    DimensionAxes found;
    for (char c : names)
      found.push_back(c == 't' ? batch : c == 'h' ? heads : c == 'f' ? features : std::vector<std::string>());
    return found;
  };
  KernelPartition plan;
  for (const std::string& names : in) plan.operands.push_back(axes(names));
  for (size_t i = 0; i < out.size(); ++i) {
    plan.results.push_back(axes(out[i]));
    plan.partial.push_back(dimensions.partial[i] ? batch : std::vector<std::string>());
  }
  return plan;
}

}  // namespace gavel
