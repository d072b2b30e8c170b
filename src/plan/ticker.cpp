#include "plan/ticker.h"

#include <chrono>

#include "report/table.h"

namespace gavel {

Ticker::Ticker(std::function<void(const std::string&)> say, std::string what, double every_seconds)
    : thread_([this, say = std::move(say), what = std::move(what), every_seconds] {
        const std::chrono::duration<double> every(every_seconds);
        std::unique_lock lock(mutex_);
        for (int64_t times = 1; !ended_.wait_for(lock, every, [this] { return end_; }); ++times)
          say(what + ", " + format_duration(static_cast<double>(times) * every_seconds) + " so far");
      }) {}

Ticker::~Ticker() {
  {
    std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

}  // namespace gavel
