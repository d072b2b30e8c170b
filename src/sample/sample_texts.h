#pragma once
#include <array>
#include <span>
#include <string_view>

namespace gavel::detail {

/** Something to ask about, and four true sentences that name it. */
struct Subject {
  std::string_view name;
  std::array<std::string_view, 4> facts;
};

std::span<const Subject> sample_subjects();

/** Questions with {} in place of the subject's name. */
std::span<const std::string_view> sample_questions();

}  // namespace gavel::detail
