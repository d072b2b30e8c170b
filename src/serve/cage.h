#pragma once
#include <filesystem>
#include <vector>

namespace gavel {

/** What the calling thread, and all threads and processes that it starts from then on, may still do with files and the network
 * (Landlock, of Linux 5.13 and later; docs/security.md). It can be called again for less, never for more. */
struct Cage {
  /** Folders below which files may be read, and those below which they may be made, written and removed. */
  std::vector<std::filesystem::path> readable, writable;
};

/** Programs can't be started and TCP connections can't be opened (from Linux 6.7 on) any more, files only as `cage` says; devices in
 * /dev stay as they are. False, with nothing changed, where the kernel has no Landlock. Throws Error when it has one that refuses. */
bool enter_cage(const Cage& cage);

}  // namespace gavel
