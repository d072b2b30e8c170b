#include "base/memory.h"

#include <malloc.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/log.h"

// jemalloc's, in programs that are linked with it.
extern "C" __attribute__((weak)) int mallctl(const char* name, void* old_value, size_t* old_size, void* new_value,
                                             size_t new_size);

namespace gavel {

void release_freed_memory() {
  if (mallctl != nullptr)
    mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);  // 4096 = MALLCTL_ARENAS_ALL
  else
    ::malloc_trim(0);
}

std::optional<size_t> allocated_memory() {
  if (mallctl == nullptr) return {};
  uint64_t epoch = 1;  // its figures are those of the last epoch
  size_t bytes = 0, size = sizeof(bytes);
  if (mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch)) != 0 ||
      mallctl("stats.allocated", &bytes, &size, nullptr, 0) != 0)
    return {};
  return bytes;
}

void release_freed_memory_but_reserve(size_t bytes) {
  release_freed_memory();
  // Never touched, so it costs no memory; volatile, since compilers leave out a block that nobody uses.
  void* volatile block = std::malloc(bytes);
  std::free(block);
}

namespace {

struct Mapping {
  std::atomic<const char*> data = nullptr;
  std::atomic<size_t> size = 0;
  std::atomic<const char*> name = nullptr;
};

// The one state of the whole process that Gavel keeps: a signal handler can be given nothing, may take no lock and allocate
// nothing, so what it looks up must be where it finds it. Who reads a mapping keeps it alive, so its entry stands still
// while the handler looks at it; entries of others may change meanwhile.
std::array<Mapping, 4096> mappings;
const char entered_soon = 0;  // in `data` of an entry that is being made

/** Writes what it is given, with what a terminal would act on taken out. */
void write_plainly(const char* text) {
  char buffer[512];
  size_t size = 0;
  for (; *text != '\0' && size < sizeof buffer; ++text) {
    const auto byte = static_cast<unsigned char>(*text);
    buffer[size++] = byte < 0x20 || byte == 0x7f ? '?' : *text;
  }
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, buffer, size);
}

/** Nothing but calls that are allowed in a handler (signal-safety(7)). */
void end_at_lost_page(int signal, siginfo_t* info, void* /*context*/) {
  const auto* address = static_cast<const char*>(info->si_addr);
  for (const Mapping& mapping : mappings) {
    const char* data = mapping.data.load();
    const size_t size = mapping.size.load();
    if (info->si_code <= 0 || data == nullptr || data == &entered_soon || address < data || address >= data + size)
      continue;
    termios settings;
    if (::tcgetattr(STDERR_FILENO, &settings) == 0) [[maybe_unused]]
      const ssize_t written = ::write(STDERR_FILENO, "\r\x1b[K", 4);  // a progress bar
    write_plainly("error: ");
    write_plainly(mapping.name.load());
    write_plainly(
        ": was cut short, or its disk failed, while it was being read: put the whole file back and call again");
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, "\n", 1);
    ::_exit(1);
  }
  // None of ours: back to where it came from, which now ends the process as it would have.
  struct sigaction as_always{};
  as_always.sa_handler = SIG_DFL;
  ::sigaction(signal, &as_always, nullptr);
  if (info->si_code <= 0) ::raise(signal);  // somebody sent it: it does not come again by itself
}

}  // namespace

void end_when_mapped_files_shrink() {
  struct sigaction action{};
  action.sa_sigaction = end_at_lost_page;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void note_mapping(const void* data, size_t size, const char* name) {
  for (Mapping& mapping : mappings) {
    const char* none = nullptr;
    if (mapping.data.load(std::memory_order_relaxed) != nullptr ||
        !mapping.data.compare_exchange_strong(none, &entered_soon))
      continue;
    mapping.size = size;
    mapping.name = name;
    mapping.data = static_cast<const char*>(data);
    return;
  }
  // With more files than that open, one has no name in the line above: it ends the process by the signal.
}

void forget_mapping(const void* data) {
  for (Mapping& mapping : mappings)
    if (mapping.data.load(std::memory_order_relaxed) == data) {
      mapping.data = nullptr;
      return;
    }
}

namespace {

/** The number behind `key` in a file of lines "key number"; with an empty key the file's only word. */
std::optional<size_t> number_in(const std::filesystem::path& path, std::string_view key) {
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string word;
    size_t number = 0;
    if (!key.empty() && (!(words >> word) || word != key)) continue;
    return words >> number ? std::optional(number) : std::nullopt;  // a group without a limit says "max"
  }
  return {};
}

}  // namespace

std::optional<FreeMemory> free_memory(const std::filesystem::path& root) {
  std::optional<FreeMemory> least;
  const auto take = [&](size_t bytes, std::string of) {
    if (!least || bytes < least->bytes) least = FreeMemory{bytes, std::move(of)};
  };
  const size_t swap = number_in(root / "proc/meminfo", "SwapFree:").value_or(0);
  if (const auto available = number_in(root / "proc/meminfo", "MemAvailable:"))
    take((*available + swap) << 10, "this machine");
  // Version 2 has one tree of groups, version 1 one for memory alone.
  struct Version {
    const char *entry, *tree, *limit, *used, *files;
  };
  constexpr Version kVersions[] = {
      {"0::/", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
      {":memory:/", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}};
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);)
    for (const Version& version : kVersions) {
      const size_t at = line.find(version.entry);
      if (at == std::string::npos) continue;
      // The limits of all groups above hold too.
      for (std::filesystem::path group = line.substr(at + std::strlen(version.entry));; group = group.parent_path()) {
        const auto folder = root / version.tree / group;
        const auto limit = number_in(folder / version.limit, ""), used = number_in(folder / version.used, "");
        // Pages of files that were read count as used, and give way.
        const size_t files = number_in(folder / "memory.stat", version.files).value_or(0);
        if (limit && used)
          take(*limit - std::min(*limit, *used - std::min(files, *used)), "the control group /" + group.string());
        if (group.empty()) break;
      }
    }
  return least;
}

void warn_if_short_of_memory(size_t bytes, const std::string& what, const std::string& advice) {
  const auto free = free_memory();
  if (!free || bytes <= free->bytes) return;
  spdlog::warn("{} need {:.1f} GB of memory, and {} has {:.1f} GB free: the system may end the process; {}", what,
               static_cast<double>(bytes) / 1e9, free->of, static_cast<double>(free->bytes) / 1e9, advice);
}

}  // namespace gavel
