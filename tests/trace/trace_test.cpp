#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "base/protobuf.h"
#include "trace/spans.h"
#include "trace/xplane.h"
#include "trace/xplane_reader.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Spans, NothingIsNotedWhileOff) {
  Spans spans;
  {
    const ScopedSpan span(&spans, "before");
  }
  {
    const ScopedSpan span(nullptr, "nowhere");
  }
  spans.begin();
  const auto early = Spans::Clock::now() - std::chrono::seconds(1);
  spans.add("began before", early, Spans::Clock::now());
  SpanRecording recording = spans.end();
  {
    const ScopedSpan span(&spans, "after");
  }
  EXPECT_THAT(recording.spans, IsEmpty());
  spans.begin();
  EXPECT_THAT(spans.end().spans, IsEmpty());
}

TEST(Spans, ASpanThatOutlivesTheRecordingIsNotInTheNext) {
  Spans spans;
  spans.begin();
  {
    const ScopedSpan span(&spans, "across");
    spans.end();
    spans.begin();
  }
  EXPECT_THAT(spans.end().spans, IsEmpty());
}

TEST(Spans, AreBounded) {
  Spans spans(3);
  spans.begin();
  for (int i = 0; i < 10; ++i) const ScopedSpan span(&spans, "again");
  const SpanRecording recording = spans.end();
  EXPECT_EQ(recording.spans.size(), 3u);
  EXPECT_EQ(recording.left_out, 7);
}

TEST(Spans, EachThreadHasItsOwn) {
  Spans spans;
  spans.begin();
  {
    const ScopedSpan span(&spans, "here");
  }
  std::thread([&] { const ScopedSpan span(&spans, "there"); }).join();
  const SpanRecording recording = spans.end();
  ASSERT_EQ(recording.spans.size(), 2u);
  EXPECT_NE(recording.spans[0].thread, recording.spans[1].thread);
  EXPECT_EQ(recording.threads.size(), 2u);
}

TEST(XPlane, WhatIsWrittenIsRead) {
  SpanRecording recording;
  recording.began = 1'000'000'000'000;
  recording.ended = recording.began + 500;
  recording.threads = {{7, "main"}, {9, "kernels"}};
  // As they end: the inner ones first.
  recording.spans = {{"send", 7, 10, 20}, {"gavel_mlp", 9, 15, 5}, {"wait", 7, 30, 40}, {"step", 7, 10, 60, 3}};
  const XSpace space = read_xspace(to_xspace(recording, ""));
  ASSERT_EQ(space.planes.size(), 2u);
  const XPlane& host = space.planes[0];
  EXPECT_EQ(host.name, "/host:CPU");
  ASSERT_EQ(host.lines.size(), 2u);
  EXPECT_EQ(host.lines[0].name, "main/7");
  EXPECT_EQ(host.lines[0].id, 7);
  // What holds others comes before them.
  EXPECT_THAT(host.lines[0].names(), ElementsAre("step", "send", "wait"));
  EXPECT_THAT(host.lines[1].names(), ElementsAre("gavel_mlp"));
  const XEvent& step = host.lines[0].events[0];
  EXPECT_EQ(step.offset_ps, 10'000);
  EXPECT_EQ(step.duration_ps, 60'000);
  EXPECT_EQ(step.stats.at("step_num"), 3);
  EXPECT_EQ(step.stats.at("_r"), 1);
  EXPECT_THAT(host.lines[0].events[1].stats, IsEmpty());
  EXPECT_EQ(space.planes[1].name, "Task Environment");
  EXPECT_EQ(space.planes[1].stats.at("profile_start_time"), recording.began);
  EXPECT_EQ(space.planes[1].stats.at("profile_stop_time"), recording.ended);
}

/** A plane of a device with one line that begins at `timestamp`. */
std::string device_space(int64_t timestamp) {
  using namespace protobuf;
  std::string event, line, plane, space;
  put_integer(event, 1, 5);
  put_integer(event, 2, 77);
  put_bytes(line, 2, "Stream 1");
  put_integer(line, 3, timestamp);
  put_bytes(line, 4, event);
  put_bytes(plane, 2, "/device:GPU:0");
  put_bytes(plane, 3, line);
  put_bytes(space, 1, plane);
  put_bytes(space, 4, "a host");
  return space;
}

TEST(XPlane, ThePlanesOfAPluginCountFromTheSameBeginning) {
  SpanRecording recording;
  recording.began = 1'000'000;
  for (const auto& [given, expected] : {std::pair<int64_t, int64_t>{1'000'250, 250}, {40, 40}}) {
    const XSpace space = read_xspace(to_xspace(recording, device_space(given)));
    ASSERT_EQ(space.planes.size(), 3u);
    EXPECT_EQ(space.planes[2].name, "/device:GPU:0");
    EXPECT_EQ(space.planes[2].lines.at(0).timestamp_ns, expected);
    EXPECT_EQ(space.planes[2].lines.at(0).events.at(0).offset_ps, 77);
    EXPECT_THAT(space.hostnames, ElementsAre("a host"));
  }
}

TEST(XPlane, BytesThatAreNoXSpaceAreRefused) {
  const std::string whole = device_space(5);
  for (size_t size = 1; size < whole.size(); ++size) {
    std::string part = whole.substr(0, size);
    try {
      read_xspace(to_xspace({}, part));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("no XSpace"));
      continue;
    }
    // It may end between two fields.
    EXPECT_EQ(size, whole.size() - 8) << size;
  }
}

}  // namespace
}  // namespace gavel
