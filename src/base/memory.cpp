#include "base/memory.h"

#include <malloc.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>

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

}  // namespace gavel
