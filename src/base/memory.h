#pragma once
#include <cstddef>
#include <optional>

namespace gavel {

/** Gives memory that was freed back to the system. The program's allocator keeps it (src/cli/main.cpp), which makes
 * training faster; but work that takes and frees many large blocks would leave more and more of it idle. */
void release_freed_memory();

/** The same, and sets one range of addresses of `bytes` aside: blocks of different sizes up to that, one after the
 * other, then use the same memory. Without it the allocator keeps a freed block of every size that was ever asked
 * for. */
void release_freed_memory_but_reserve(size_t bytes);

/** Bytes that the program has allocated and not freed; nothing where its allocator does not say. */
std::optional<size_t> allocated_memory();

}  // namespace gavel
