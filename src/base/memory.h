#pragma once

namespace gavel {

/** Gives memory that was freed back to the system. The program's allocator keeps it (src/cli/main.cpp), which
 * training wants; work that frees as much as it takes, block after block, would hold a growing share of it
 * idle. */
void release_freed_memory();

}  // namespace gavel
