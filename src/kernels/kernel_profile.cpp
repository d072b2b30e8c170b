#include "kernels/kernel_profile.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/convert.h"
#include "kernels/gemm.h"
#include "kernels/thread_pool.h"

namespace gavel {

namespace {

struct Profile {
  std::atomic<bool> on{false};  // either of the two below
  std::mutex mutex;
  bool counting = false;
  std::shared_ptr<Spans> spans;
  std::map<std::string, KernelTime> times;
};

// Never destroyed: a plugin's threads may still run a kernel while the process exits.
Profile& profile() {
  static Profile* const instance = new Profile;
  return *instance;
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::map<std::string, KernelTime> take_kernel_times() {
  std::lock_guard lock(profile().mutex);
  return std::exchange(profile().times, {});
}

void set_kernel_profiling(bool on) {
  std::lock_guard lock(profile().mutex);
  profile().counting = on;
  profile().on = on || profile().spans;
}

void set_kernel_spans(std::shared_ptr<Spans> spans) {
  std::lock_guard lock(profile().mutex);
  profile().spans = std::move(spans);
  profile().on = profile().counting || profile().spans;
}

KernelTimer::KernelTimer(const char* target) : target_(profile().on ? target : nullptr) {
  if (!target_) return;
  {
    std::lock_guard lock(profile().mutex);
    spans_ = profile().spans;
  }
  start_ = Spans::Clock::now();
}

KernelTimer::~KernelTimer() {
  if (!target_) return;
  const Spans::Clock::time_point end = Spans::Clock::now();
  if (spans_) spans_->add(target_, start_, end);
  std::lock_guard lock(profile().mutex);
  if (!profile().counting) return;
  KernelTime& time = profile().times[target_];
  ++time.calls;
  time.seconds += std::chrono::duration<double>(end - start_).count();
}

double measure_product_limit(DType type, double seconds) {
  if (type != DType::kBF16 || !has_native_bf16()) type = DType::kF32;
  const int64_t rows = 512, n = 1536, k = 576;
  const auto size = static_cast<int64_t>(byte_size(type));
  KernelCall call;
  const int64_t blocks = int64_t{call.threads()} * 4;
  // Small numbers: what is multiplied must not be denormal or overflow, what it is does not matter.
  auto fill = [&](int64_t count) {
    std::vector<char> bytes(static_cast<size_t>(count * size));
    for (int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(i % 7 - 3) / 8;
      if (type == DType::kF32)
        reinterpret_cast<float*>(bytes.data())[i] = value;
      else
        reinterpret_cast<uint16_t*>(bytes.data())[i] = f32_to_bf16(value);
    }
    return bytes;
  };
  std::vector<char> x = fill(blocks * rows * k), w = fill(n * k), y = fill(blocks * rows * n);
  double best = 0;
  const auto start = Clock::now();
  for (int tries = 0; tries < 200 && (tries < 5 || seconds_since(start) < seconds); ++tries) {
    const auto before = Clock::now();
    call.run(blocks, [&](int64_t task, int) {
      gemm(rows, n, k, {type, x.data() + task * rows * k * size, k}, {type, w.data(), n}, type,
           y.data() + task * rows * n * size, n);
    });
    best = std::max(best, 2.0 * static_cast<double>(blocks * rows * n * k) / seconds_since(before));
  }
  return best;
}

}  // namespace gavel
