// Any bytes as a TensorBoard event file, as they are and as the message of a record whose checksums are
// right: an Error, or events; and cutting never makes the file longer.
#include <bit>
#include <cstring>

#include "base/checksum.h"
#include "fuzz_target.h"
#include "input_file.h"
#include "report/tensorboard.h"

namespace {

uint32_t masked(std::string_view bytes) {
  uint32_t crc = gavel::crc32c({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  return std::rotr(crc, 15) + 0xa282ead8u;
}

std::string record(std::string_view message) {
  auto raw = [](auto value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); };
  std::string length = raw(uint64_t{message.size()});
  return length + raw(masked(length)) + std::string(message) + raw(masked(message));
}

void read(const gavel::InputFolder& folder, std::string_view bytes) {
  auto path = folder.write("events.out.tfevents.1", bytes);
  try {
    gavel::read_events(path);
    gavel::cut_events(folder.path(), 3, 2);
    if (std::filesystem::file_size(path) > bytes.size()) std::abort();
  } catch (const gavel::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  read(folder, bytes);
  read(folder, record(bytes));
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  std::string time(9, '\x40');
  time[0] = '\x09';
  const std::string step("\x10\x04"),
      version(
          "\x1a\x0d"
          "brain.Event:2"),
      session("\x10\x80\x01\x3a\x02\x08\x01");
  std::string loss("\x0a\x04loss\x15????");
  std::string value("\x0a");
  value += static_cast<char>(loss.size());
  value += loss;
  std::string event = time + step;
  event += '\x2a';
  event += static_cast<char>(value.size());
  event += value;
  return {event, time + version, time + session, record(event) + record(event)};
}
