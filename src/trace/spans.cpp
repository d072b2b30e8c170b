#include "trace/spans.h"

#include <pthread.h>
#include <unistd.h>

#include <utility>

namespace gavel {

namespace {

int64_t wall_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

int64_t nanoseconds(Spans::Clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}

std::string name_of_this_thread(int number) {
  // The process's first thread bears its name in any case.
  if (number == ::getpid()) return "main";
  char name[16] = {};
  return ::pthread_getname_np(::pthread_self(), name, sizeof name) == 0 ? name : "";
}

}  // namespace

void Spans::begin() {
  std::lock_guard lock(mutex_);
  recording_ = {};
  recording_.began = wall_nanoseconds();
  begin_ = Clock::now();
  on_ = true;
}

SpanRecording Spans::end() {
  std::lock_guard lock(mutex_);
  on_ = false;
  recording_.ended = recording_.began + nanoseconds(Clock::now() - begin_);
  return std::exchange(recording_, {});
}

void Spans::add(const char* name, Clock::time_point start, Clock::time_point end, int64_t step) {
  thread_local const int thread = ::gettid();
  std::lock_guard lock(mutex_);
  if (!on() || start < begin_) return;
  if (recording_.spans.size() >= most_) {
    ++recording_.left_out;
    return;
  }
  if (!recording_.threads.contains(thread)) recording_.threads[thread] = name_of_this_thread(thread);
  recording_.spans.push_back({name, thread, nanoseconds(start - begin_), nanoseconds(end - start), step});
}

}  // namespace gavel
