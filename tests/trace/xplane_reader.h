#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/protobuf.h"

namespace gavel {

// A reader of XSpaces for the tests, written by xplane.proto alone.

struct XEvent {
  std::string name;
  int64_t offset_ps = 0, duration_ps = 0;
  std::map<std::string, int64_t> stats;
  int64_t end_ps() const { return offset_ps + duration_ps; }
};
struct XLine {
  int64_t id = 0, timestamp_ns = 0;
  std::string name;
  std::vector<XEvent> events;
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const XEvent& event : events) all.push_back(event.name);
    return all;
  }
};
struct XPlane {
  std::string name;
  std::vector<XLine> lines;
  std::map<std::string, int64_t> stats;
};
struct XSpace {
  std::vector<XPlane> planes;
  std::vector<std::string> hostnames;
};

/** Calls use(field) for each; the test fails where the message is broken. */
template <class Use>
void for_each_field(std::string_view message, Use use) {
  protobuf::Fields fields(message);
  while (fields.next()) use(fields);
  EXPECT_TRUE(fields.whole());
}

/** Number → name, of the map entries of one field. */
inline std::map<uint64_t, std::string> read_names(std::string_view plane, uint32_t field) {
  std::map<uint64_t, std::string> names;
  for_each_field(plane, [&](const protobuf::Fields& entry) {
    if (entry.field != field) return;
    uint64_t key = 0, id = 0;
    std::string name;
    for_each_field(entry.bytes, [&](const protobuf::Fields& part) {
      if (part.field == 1) key = part.number;
      if (part.field != 2) return;
      for_each_field(part.bytes, [&](const protobuf::Fields& named) {
        if (named.field == 1) id = named.number;
        if (named.field == 2) name = named.bytes;
      });
    });
    EXPECT_EQ(key, id);
    names[key] = name;
  });
  return names;
}

inline std::pair<std::string, int64_t> read_stat(std::string_view stat, const std::map<uint64_t, std::string>& names) {
  std::pair<std::string, int64_t> found;
  for_each_field(stat, [&](const protobuf::Fields& part) {
    if (part.field == 1) found.first = names.at(part.number);
    if (part.field == 3 || part.field == 4) found.second = static_cast<int64_t>(part.number);
  });
  return found;
}

inline XPlane read_xplane(std::string_view message) {
  const auto event_names = read_names(message, 4), stat_names = read_names(message, 5);
  XPlane plane;
  for_each_field(message, [&](const protobuf::Fields& field) {
    if (field.field == 2) plane.name = field.bytes;
    if (field.field == 6) plane.stats.insert(read_stat(field.bytes, stat_names));
    if (field.field != 3) return;
    XLine line;
    for_each_field(field.bytes, [&](const protobuf::Fields& part) {
      if (part.field == 1) line.id = static_cast<int64_t>(part.number);
      if (part.field == 2) line.name = part.bytes;
      if (part.field == 3) line.timestamp_ns = static_cast<int64_t>(part.number);
      if (part.field != 4) return;
      XEvent event;
      for_each_field(part.bytes, [&](const protobuf::Fields& of_event) {
        if (of_event.field == 1 && event_names.contains(of_event.number)) event.name = event_names.at(of_event.number);
        if (of_event.field == 2) event.offset_ps = static_cast<int64_t>(of_event.number);
        if (of_event.field == 3) event.duration_ps = static_cast<int64_t>(of_event.number);
        if (of_event.field == 4) event.stats.insert(read_stat(of_event.bytes, stat_names));
      });
      line.events.push_back(event);
    });
    plane.lines.push_back(line);
  });
  return plane;
}

inline XSpace read_xspace(std::string_view bytes) {
  XSpace space;
  for_each_field(bytes, [&](const protobuf::Fields& field) {
    if (field.field == 1) space.planes.push_back(read_xplane(field.bytes));
    if (field.field == 4) space.hostnames.emplace_back(field.bytes);
  });
  return space;
}

}  // namespace gavel
