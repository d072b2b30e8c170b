#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "data/batcher.h"
#include "trace/spans.h"

namespace gavel {

/** Builds the batches of steps first, first + 1, …, end - 1 on a thread of its own, up to `depth` steps ahead
 * of next(). Since a step is a pure function of its number, what next() returns is what batcher.step() would.
 */
class BatchPrefetcher {
 public:
  /** `batcher` and `spans`, where the building of each step's batches is noted, must outlive the prefetcher. */
  BatchPrefetcher(const Batcher& batcher, int64_t first, int64_t end, int64_t depth = 2, Spans* spans = nullptr);
  ~BatchPrefetcher();
  BatchPrefetcher(const BatchPrefetcher&) = delete;
  BatchPrefetcher& operator=(const BatchPrefetcher&) = delete;

  /** The next step's batches; throws what building them threw, and when there are none left. */
  StepBatches next();

 private:
  void work(int64_t first, int64_t end, size_t depth);

  const Batcher& batcher_;
  Spans* const spans_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StepBatches> ready_;
  std::exception_ptr error_;
  bool done_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace gavel
