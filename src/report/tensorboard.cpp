#include "report/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <cstring>
#include <functional>
#include <optional>
#include <span>

#include "base/append.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/protobuf.h"

namespace gavel {

namespace fs = std::filesystem;
using namespace protobuf;

namespace {

constexpr std::string_view kEventFile = "events.out.tfevents.";

// Field numbers of event.proto and summary.proto.
constexpr uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr uint32_t kSummaryValue = 1, kTag = 1, kSimpleValue = 2, kStatus = 1;
constexpr uint64_t kStart = 1;               // SessionLog.START
constexpr size_t kHeader = 12, kFooter = 4;  // length and its checksum; checksum of the data

std::string event_of(double wall_time, int64_t step) {
  std::string event;
  put_key(event, kWallTime, kFixed64);
  put_raw(event, wall_time);
  put_key(event, kStep, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

/** TFRecord's checksum: CRC-32C, rotated and shifted by a constant. */
uint32_t masked_crc(std::string_view bytes) {
  uint32_t crc = crc32c({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  return std::rotr(crc, 15) + 0xa282ead8u;
}

/** nullopt when it is no Event. */
std::optional<TensorboardEvent> parse_event(std::string_view message) {
  TensorboardEvent event;
  Fields fields(message);
  while (fields.next()) {
    if (fields.field == kWallTime && fields.bytes.size() == 8) event.wall_time = get_raw<double>(fields.bytes, 0);
    if (fields.field == kStep) event.step = static_cast<int64_t>(fields.number);
    if (fields.field == kFileVersion) event.file_version = fields.bytes;
    if (fields.field == kSessionLog) event.starts_session = true;
    if (fields.field != kSummary) continue;
    Fields values(fields.bytes);
    while (values.next()) {
      if (values.field != kSummaryValue) continue;
      Fields value(values.bytes);
      std::pair<std::string, float> scalar;
      while (value.next()) {
        if (value.field == kTag) scalar.first = value.bytes;
        if (value.field == kSimpleValue && value.bytes.size() == 4) scalar.second = get_raw<float>(value.bytes, 0);
      }
      event.scalars.push_back(std::move(scalar));
    }
  }
  return fields.whole() ? std::optional(event) : std::nullopt;
}

/** Calls use(event, end of its record) until it returns false; stops before a torn end. */
void for_each_event(const fs::path& path, std::string_view text,
                    const std::function<bool(TensorboardEvent&&, size_t end)>& use) {
  size_t at = 0;
  while (text.size() - at >= kHeader + kFooter) {
    auto size = get_raw<uint64_t>(text, at);
    if (masked_crc(text.substr(at, 8)) != get_raw<uint32_t>(text, at + 8))
      fail("{}: the length of the event at byte {} has a wrong checksum", path.string(), at);
    if (size > text.size() - at - kHeader - kFooter) return;
    std::string_view data = text.substr(at + kHeader, size);
    auto event = parse_event(data);
    if (masked_crc(data) != get_raw<uint32_t>(text, at + kHeader + size) || !event)
      fail("{}: the event at byte {} is damaged", path.string(), at);
    at += kHeader + size + kFooter;
    if (!use(std::move(*event), at)) return;
  }
}

/** The latest time in the names of event files; -1: there are none. */
int64_t newest_seconds(const fs::path& folder) {
  int64_t newest = -1;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    std::string name = entry.path().filename().string();
    int64_t seconds = 0;
    if (!name.starts_with(kEventFile)) continue;
    std::from_chars(name.data() + kEventFile.size(), name.data() + name.size(), seconds);
    newest = std::max(newest, seconds);
  }
  return newest;
}

}  // namespace

EventWriter::EventWriter(const fs::path& folder, int64_t first_step) {
  char host[HOST_NAME_MAX + 1] = "localhost";
  ::gethostname(host, sizeof host);
  auto nanoseconds = std::chrono::system_clock::now().time_since_epoch().count();
  // Files are read in the order of their names: seconds in ten digits, as TensorFlow writes them. Runs that
  // start within one second, or after the clock was set back, take a later one.
  int64_t seconds = std::max<int64_t>(nanoseconds / 1'000'000'000, newest_seconds(folder) + 1);
  path_ =
      folder / fmt::format("{}{:010}.{}.{}.{:09}", kEventFile, seconds, host, ::getpid(), nanoseconds % 1'000'000'000);
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("{}: can't be opened for writing: {}", path_.string(), std::strerror(errno));
  try {
    std::string version = event_of(wall_seconds(), 0);
    put_bytes(version, kFileVersion, "brain.Event:2");
    append(version);
    if (first_step <= 0) return;
    std::string status, start = event_of(wall_seconds(), first_step);
    put_key(status, kStatus, kVarint);
    put_varint(status, kStart);
    put_bytes(start, kSessionLog, status);
    append(start);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(path_.c_str());
    throw;
  }
}

EventWriter::~EventWriter() {
  ::close(descriptor_);
}

bool EventWriter::is_there() const {
  return is_at(descriptor_, path_);
}

void EventWriter::write(int64_t step, double wall_time, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    put_bytes(value, kTag, tag);
    put_key(value, kSimpleValue, kFixed32);
    put_raw(value, static_cast<float>(number));
    put_bytes(summary, kSummaryValue, value);
  }
  std::string event = event_of(wall_time, step);
  put_bytes(event, kSummary, summary);
  append(event);
}

void EventWriter::append(std::string_view event) {
  std::string record;
  put_raw(record, static_cast<uint64_t>(event.size()));
  put_raw(record, masked_crc(record));
  record += event;
  put_raw(record, masked_crc(event));
  append_whole(descriptor_, path_, record, size_);
}

std::vector<TensorboardEvent> read_events(const fs::path& path) {
  auto file = MappedFile::open(path);
  std::vector<TensorboardEvent> events;
  for_each_event(path, file->text(), [&](TensorboardEvent&& event, size_t) {
    events.push_back(std::move(event));
    return true;
  });
  return events;
}

void cut_events(const fs::path& folder, int64_t step, int64_t evaluated_step) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(kEventFile)) continue;
    size_t kept = 0, size = 0;
    {
      auto file = MappedFile::open(entry.path());
      size = file->text().size();
      for_each_event(entry.path(), file->text(), [&](TensorboardEvent&& event, size_t end) {
        bool evaluation = !event.scalars.empty() && event.scalars[0].first.starts_with("valid/");
        // Scalars alone: SessionLog.START at a later step is no step.
        if (!event.scalars.empty() && event.step > (evaluation ? evaluated_step : step)) return false;
        kept = end;
        return true;
      });
    }
    if (kept < size && ::truncate(entry.path().c_str(), static_cast<off_t>(kept)) != 0)
      fail("{}: can't be cut: {}", entry.path().string(), std::strerror(errno));
  }
}

}  // namespace gavel
