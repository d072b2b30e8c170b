#include "data/prefetch.h"

#include <algorithm>

#include "base/error.h"

namespace gavel {

BatchPrefetcher::BatchPrefetcher(const Batcher& batcher, int64_t first, int64_t end, int64_t depth, Spans* spans)
    : batcher_(batcher),
      spans_(spans),
      thread_([this, first, end, depth] { work(first, end, static_cast<size_t>(std::max<int64_t>(1, depth))); }) {}

BatchPrefetcher::~BatchPrefetcher() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BatchPrefetcher::work(int64_t first, int64_t end, size_t depth) {
  try {
    for (int64_t step = first; step < end; ++step) {
      StepBatches batches = [&] {
        const ScopedSpan span(spans_, "build batches");
        return batcher_.step(step);
      }();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || ready_.size() < depth; });
      if (stop_) return;
      ready_.push_back(std::move(batches));
      changed_.notify_all();
    }
  } catch (...) {
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

StepBatches BatchPrefetcher::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ || !ready_.empty(); });
  if (ready_.empty()) {
    if (error_) std::rethrow_exception(error_);
    fail("BatchPrefetcher: no step is left");
  }
  StepBatches out = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return out;
}

}  // namespace gavel
