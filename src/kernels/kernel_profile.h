#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/dtype.h"
#include "trace/spans.h"

namespace gavel {

/** Calls of one kernel through XLA and the time they took, waiting for the threads' pool included. */
struct KernelTime {
  int64_t calls = 0;
  double seconds = 0;
};

/** The times of each target that were counted since the last call of this function, which is while profiling was on. XLA
 * calls the handlers as functions of the process, so these times are of the whole process too. */
std::map<std::string, KernelTime> take_kernel_times();
void set_kernel_profiling(bool on);
/** Each call of a kernel becomes a span from here on; null: none does. Of the whole process, as above. */
void set_kernel_spans(std::shared_ptr<Spans> spans);

/** Counts one call of `target`, which takes as long as this object lives, and notes it as a span. Does nothing when both are
 * off. */
class KernelTimer {
 public:
  explicit KernelTimer(const char* target);
  ~KernelTimer();
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

 private:
  const char* target_;  // null: off
  std::shared_ptr<Spans> spans_;
  Spans::Clock::time_point start_;
};

/** The speed of matrix products by oneDNN in FLOP/s, on all threads of the pool: products of [512, 576] with [576, 1536],
 * SmolLM2-135M's feed-forward size, one thread each, the fastest of many tries. A measure to compare the kernels' own speed
 * with, which tells how fast this machine is at the moment; it is no bound, since their bf16 products can be faster
 * (panels.h). On a processor that does not multiply bf16 itself, bf16 gives float32's speed. Tries
 * for so many seconds, but five times at the least. */
double measure_product_limit(DType type, double seconds = 1.5);

}  // namespace gavel
