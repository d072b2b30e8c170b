#pragma once
#include <cstddef>
#include <optional>

namespace gavel {

/** Gives memory that was freed back to the system. The program's allocator keeps it (src/cli/main.cpp), which
 * training wants; work that frees as much as it takes, block after block, would hold a growing share of it
 * idle. */
void release_freed_memory();

/** The same, and sets addresses aside for `bytes` in one piece: blocks of up to that size, of whatever sizes in turn, then
 * take each other's memory. Without it the allocator keeps a freed block of every size that was ever asked for. */
void release_freed_memory_but_reserve(size_t bytes);

/** Bytes that the program has allocated and not freed; nothing where its allocator does not say. */
std::optional<size_t> allocated_memory();

}  // namespace gavel
