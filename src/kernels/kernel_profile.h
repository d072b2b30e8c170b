#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "base/dtype.h"

namespace gavel {

/** Calls of one kernel through XLA and the time they took, waiting for the pool included. */
struct KernelTime {
  int64_t calls = 0;
  double seconds = 0;
};

/** Times by target since the last call; empty while profiling is off. The handlers are functions of the
 * process, so their clock is too. */
std::map<std::string, KernelTime> take_kernel_times();
void set_kernel_profiling(bool on);

/** Counts its own life for `target`, when profiling is on. */
class KernelTimer {
 public:
  explicit KernelTimer(const char* target);
  ~KernelTimer();
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

 private:
  const char* target_;  // null: off
  std::chrono::steady_clock::time_point start_;
};

/** FLOP/s of a bare oneDNN product at SmolLM2's shape (512 x 576 x 1536 on every thread of the pool at once),
 * the best of several tries: what the machine can do at most. bf16 on a processor without it: float32's. */
double measure_product_limit(DType type);

}  // namespace gavel
