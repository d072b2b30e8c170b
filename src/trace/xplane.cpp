#include "trace/xplane.h"

#include <algorithm>

#include "base/error.h"
#include "base/protobuf.h"

namespace gavel {

namespace {

using namespace protobuf;

// Field numbers of xplane.proto.
constexpr uint32_t kSpacePlanes = 1;
constexpr uint32_t kPlaneId = 1, kPlaneName = 2, kPlaneLines = 3, kPlaneEventNames = 4, kPlaneStatNames = 5,
                   kPlaneStats = 6;
constexpr uint32_t kLineId = 1, kLineName = 2, kLineTimestampNs = 3, kLineEvents = 4;
constexpr uint32_t kEventName = 1, kEventOffsetPs = 2, kEventDurationPs = 3, kEventStats = 4;
constexpr uint32_t kStatName = 1, kStatUnsigned = 3, kStatInteger = 4;
constexpr uint32_t kNamedId = 1, kNamedName = 2;  // of XEventMetadata and XStatMetadata alike
constexpr uint32_t kMapKey = 1, kMapValue = 2;

/** Numbers that stand for names within a plane. */
class Names {
 public:
  int64_t number_of(const std::string& name) {
    return numbers_.emplace(name, static_cast<int64_t>(numbers_.size()) + 1).first->second;
  }
  void put(std::string& plane, uint32_t field) const {
    for (const auto& [name, number] : numbers_) {
      std::string named, entry;
      put_integer(named, kNamedId, number);
      put_bytes(named, kNamedName, name);
      put_integer(entry, kMapKey, number);
      put_bytes(entry, kMapValue, named);
      put_bytes(plane, field, entry);
    }
  }

 private:
  std::map<std::string, int64_t> numbers_;
};

std::string stat_of(int64_t name, uint32_t field, int64_t value) {
  std::string stat;
  put_integer(stat, kStatName, name);
  put_integer(stat, field, value);
  return stat;
}

std::string host_plane(const SpanRecording& recording) {
  std::map<int, std::vector<const Span*>> by_thread;
  for (const Span& span : recording.spans) by_thread[span.thread].push_back(&span);
  Names events, stats;
  std::string plane;
  put_integer(plane, kPlaneId, 1);
  put_bytes(plane, kPlaneName, "/host:CPU");
  for (auto& [thread, spans] : by_thread) {
    // A reader finds what is within what by this order.
    std::stable_sort(spans.begin(), spans.end(), [](const Span* a, const Span* b) {
      return a->start != b->start ? a->start < b->start : a->duration > b->duration;
    });
    std::string line;
    put_integer(line, kLineId, thread);
    put_bytes(line, kLineName, fmt::format("{}/{}", recording.threads.at(thread), thread));
    put_integer(line, kLineTimestampNs, 0);
    for (const Span* span : spans) {
      std::string event;
      put_integer(event, kEventName, events.number_of(span->name));
      put_integer(event, kEventOffsetPs, span->start * 1000);
      put_integer(event, kEventDurationPs, span->duration * 1000);
      if (span->step >= 0) {
        // By these the profile plugin knows a step, and what runs within it on its thread.
        put_bytes(event, kEventStats, stat_of(stats.number_of("_r"), kStatInteger, 1));
        put_bytes(event, kEventStats, stat_of(stats.number_of("step_num"), kStatInteger, span->step));
      }
      put_bytes(line, kLineEvents, event);
    }
    put_bytes(plane, kPlaneLines, line);
  }
  events.put(plane, kPlaneEventNames);
  stats.put(plane, kPlaneStatNames);
  return plane;
}

/** When the recording was made. */
std::string environment_plane(const SpanRecording& recording) {
  Names stats;
  std::string plane;
  put_integer(plane, kPlaneId, 2);
  put_bytes(plane, kPlaneName, "Task Environment");
  put_bytes(plane, kPlaneStats, stat_of(stats.number_of("profile_start_time"), kStatUnsigned, recording.began));
  put_bytes(plane, kPlaneStats, stat_of(stats.number_of("profile_stop_time"), kStatUnsigned, recording.ended));
  stats.put(plane, kPlaneStatNames);
  return plane;
}

[[noreturn]] void refuse() {
  fail("the plugin's profiler gave bytes that are no XSpace");
}

/** Profilers give times since 1970, or since they were started. */
std::string line_from(std::string_view line, int64_t began) {
  std::string out;
  Fields fields(line);
  while (fields.next()) {
    const auto time = static_cast<int64_t>(fields.number);
    if (fields.field == kLineTimestampNs && fields.type == kVarint && time >= began)
      put_integer(out, kLineTimestampNs, time - began);
    else
      out += fields.encoded;
  }
  if (!fields.whole()) refuse();
  return out;
}

std::string plane_from(std::string_view plane, int64_t began) {
  std::string out;
  Fields fields(plane);
  while (fields.next()) {
    if (fields.field == kPlaneLines && fields.type == kBytes)
      put_bytes(out, kPlaneLines, line_from(fields.bytes, began));
    else
      out += fields.encoded;
  }
  if (!fields.whole()) refuse();
  return out;
}

}  // namespace

std::string to_xspace(const SpanRecording& recording, std::string_view device_space) {
  std::string space;
  put_bytes(space, kSpacePlanes, host_plane(recording));
  put_bytes(space, kSpacePlanes, environment_plane(recording));
  Fields fields(device_space);
  while (fields.next()) {
    if (fields.field == kSpacePlanes && fields.type == kBytes)
      put_bytes(space, kSpacePlanes, plane_from(fields.bytes, recording.began));
    else
      space += fields.encoded;
  }
  if (!fields.whole()) refuse();
  return space;
}

}  // namespace gavel
