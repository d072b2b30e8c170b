#include "kernels/thread_pool.h"

#include <sched.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace gavel {
namespace {

using Body = std::function<void(int64_t, int)>;

/** Aligned memory that only grows. */
class Arena {
 public:
  void* at_least(size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = 0;
      size_t rounded = (bytes + 4095) / 4096 * 4096;
      memory_.reset(static_cast<char*>(::operator new(rounded, std::align_val_t{64})));
      size_ = rounded;
    }
    return memory_.get();
  }

 private:
  struct Delete {
    void operator()(char* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<char, Delete> memory_;
  size_t size_ = 0;
};

/** Denormals count as zero while it lives. XLA's threads are set so and ours are not when they start; which
 * thread runs a task must not show in the result. */
class FlushDenormals {
 public:
#ifdef __SSE2__
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // flush to zero, denormals are zero
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  FlushDenormals() {}
#endif
};

struct Job {
  const Body* body;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void work(int worker) {
    const FlushDenormals flush;
    for (;;) {
      int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= count) return;
      try {
        (*body)(task, worker);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
  }
};

/** Waits a little: jobs follow each other, and workers end, within microseconds, and sleeping costs more than that. */
template <class Condition>
void spin_until(Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::microseconds(30);
  while (!condition() && std::chrono::steady_clock::now() < give_up) {
  }
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads), local_(static_cast<size_t>(threads)) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { loop(i); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int threads() const { return threads_; }
  Arena& shared() { return shared_; }
  Arena& local(int worker) { return local_[static_cast<size_t>(worker)]; }

  void run(int64_t count, const Body& body) {
    Job job{.body = &body, .count = count};
    if (threads_ == 1 || count <= 1) {
      job.work(0);
    } else {
      {
        std::lock_guard lock(mutex_);
        job_ = &job;
        generation_.fetch_add(1);
      }
      wake_.notify_all();
      job.work(0);
      {
        // A worker that has not woken by now is not waited for: it finds no job.
        std::lock_guard lock(mutex_);
        job_ = nullptr;
      }
      spin_until([&] { return inside_.load(std::memory_order_relaxed) == 0; });
      std::unique_lock lock(mutex_);
      idle_.wait(lock, [&] { return inside_.load() == 0; });
    }
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void loop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      spin_until([&] { return generation_.load(std::memory_order_relaxed) != seen; });
      Job* job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        seen = generation_.load();
        if (stop_) return;
        job = job_;
        if (job == nullptr) continue;
        ++inside_;
      }
      job->work(worker);
      {
        std::lock_guard lock(mutex_);
        --inside_;
      }
      idle_.notify_one();
    }
  }

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::atomic<uint64_t> generation_{0};
  Job* job_ = nullptr;
  std::atomic<int> inside_{0};  // changed under the mutex
  bool stop_ = false;
  Arena shared_;
  std::vector<Arena> local_;
};

int default_threads() {
  if (const char* text = std::getenv("GAVEL_THREADS")) {
    int threads = std::atoi(text);
    if (threads > 0) return std::min(threads, 1024);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

struct Owner {
  std::mutex mutex;  // held by the KernelCall in flight
  std::unique_ptr<Pool> pool;

  Pool& get() {
    if (!pool) pool = std::make_unique<Pool>(default_threads());
    return *pool;
  }
};

// Never destroyed: a plugin's threads may still run a kernel while the process exits.
Owner& owner() {
  static Owner* const instance = new Owner;
  return *instance;
}

}  // namespace

KernelCall::KernelCall() {
  owner().mutex.lock();
  try {
    owner().get();
  } catch (...) {
    owner().mutex.unlock();
    throw;
  }
}

KernelCall::~KernelCall() {
  owner().mutex.unlock();
}

int KernelCall::threads() const {
  return owner().pool->threads();
}

void KernelCall::run(int64_t count, const Body& body) {
  owner().pool->run(count, body);
}

void* KernelCall::shared(size_t bytes) {
  return owner().pool->shared().at_least(bytes);
}

void* KernelCall::local(int worker, size_t bytes) {
  return owner().pool->local(worker).at_least(bytes);
}

int kernel_threads() {
  std::lock_guard lock(owner().mutex);
  return owner().get().threads();
}

void set_kernel_threads(int threads) {
  std::lock_guard lock(owner().mutex);
  owner().pool.reset();
  owner().pool = std::make_unique<Pool>(std::clamp(threads, 1, 1024));
}

}  // namespace gavel
