#include "base/axes.h"

#include <fmt/ranges.h>

namespace gavel {

std::string to_string(const DimensionAxes& axes) {
  std::vector<std::string> parts;
  for (const auto& dimension : axes) parts.push_back(fmt::format("{{{}}}", fmt::join(dimension, ", ")));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

}  // namespace gavel
