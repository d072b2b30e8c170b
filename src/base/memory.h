#pragma once
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace gavel {

/** Gives memory that was freed back to the system. The program's allocator keeps it (src/cli/main.cpp), which makes
 * training faster; but work that takes and frees many large blocks would leave more and more of it idle. */
void release_freed_memory();

/** The same, and sets one range of addresses of `bytes` aside: blocks of different sizes up to that, one after the
 * other, then use the same memory. Without it the allocator keeps a freed block of every size that was ever asked
 * for. */
void release_freed_memory_but_reserve(size_t bytes);

/** From now on the program ends with exit status 1 and a line that names the file when a mapped one is cut short, or its disk
 * fails, and what it held is read: the kernel tells of that by SIGBUS, which would else kill without a word. For main() to call,
 * before threads. What was being written is left as a kill leaves it: under another name. */
void end_when_mapped_files_shrink();

/** Enters a mapping into the list that this goes by, and takes it off, before it is unmapped. `name` is not copied. For
 * MappedFile alone. */
void note_mapping(const void* data, size_t size, const char* name);
void forget_mapping(const void* data);

/** Bytes that the program has allocated and not freed; nothing where its allocator does not say. */
std::optional<size_t> allocated_memory();

/** Memory that this process can still take before the system ends it. */
struct FreeMemory {
  size_t bytes = 0;
  /** What bounds it: "this machine", or a control group (a container's limit) by name. */
  std::string of;
};

/** The least of what the machine has (memory and swap) and what control groups leave; nothing where the system
 * does not say. `root`: where proc/ and sys/ are, for tests. */
std::optional<FreeMemory> free_memory(const std::filesystem::path& root = "/");

/** A line of the log when `bytes` for `what` are more than is free: the system would end the process without a word. */
void warn_if_short_of_memory(size_t bytes, const std::string& what, const std::string& advice);

}  // namespace gavel
