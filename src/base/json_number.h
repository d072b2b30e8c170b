#pragma once
#include <cstdint>
#include <optional>

namespace gavel {

/** A whole number that an int64 holds; nothing for other JSON, of which the library's get<int64_t> would make one too: of
 * 2.5, of true, and of 1e30, for which C++ says nothing of the result. */
template <class Json>
std::optional<int64_t> whole_number(const Json& json) {
  if (!json.is_number_integer()) return {};
  if (json.is_number_unsigned() && json.template get<uint64_t>() > uint64_t{INT64_MAX}) return {};
  return json.template get<int64_t>();
}

}  // namespace gavel
