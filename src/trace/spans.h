#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace gavel {

/** Something that took time on one thread. */
struct Span {
  const char* name;         // lives as long as the program
  int thread;               // the system's number of it
  int64_t start, duration;  // nanoseconds, from the recording's begin
  int64_t step = -1;        // of a training step: its number, from 1
};

/** What was recorded from one begin() to the next end(). */
struct SpanRecording {
  int64_t began = 0, ended = 0;  // nanoseconds since 1970
  std::vector<Span> spans;       // in the order in which they ended
  std::map<int, std::string> threads;
  /** Spans that came when there were Spans::kMost already. */
  int64_t left_out = 0;
};

/** Notes what runs when, between begin() and end(); else nothing, at the cost of reading a flag. For all threads. */
class Spans {
 public:
  static constexpr size_t kMost = 1'000'000;
  using Clock = std::chrono::steady_clock;

  explicit Spans(size_t most = kMost) : most_(most) {}

  /** Forgets what there is. */
  void begin();
  SpanRecording end();
  bool on() const { return on_.load(std::memory_order_relaxed); }
  /** Of this thread. Does nothing when no recording was on at `start`, or none is now. */
  void add(const char* name, Clock::time_point start, Clock::time_point end, int64_t step = -1);

 private:
  const size_t most_;
  std::atomic<bool> on_{false};
  std::mutex mutex_;
  Clock::time_point begin_;
  SpanRecording recording_;
};

/** A span as long as this object lives. `spans` may be null: nothing is noted then. */
class ScopedSpan {
 public:
  ScopedSpan(Spans* spans, const char* name, int64_t step = -1)
      : spans_(spans != nullptr && spans->on() ? spans : nullptr), name_(name), step_(step) {
    if (spans_ != nullptr) start_ = Spans::Clock::now();
  }
  ~ScopedSpan() {
    if (spans_ != nullptr) spans_->add(name_, start_, Spans::Clock::now(), step_);
  }
  ScopedSpan(const ScopedSpan&) = delete;
  ScopedSpan& operator=(const ScopedSpan&) = delete;

 private:
  Spans* spans_;
  const char* name_;
  int64_t step_;
  Spans::Clock::time_point start_;
};

}  // namespace gavel
