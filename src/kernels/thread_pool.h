#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace gavel {

/** Exclusive use of the process's one pool of kernel threads, for as long as the object lives. The pool is
 * one per process because the cores are: two kernels at a time would only evict each other's cache lines, so
 * a second caller (another device of the plugin) waits here.
 *
 * Results never depend on which thread ran a task: a kernel cuts its work into tasks by shape and threads()
 * alone, and sums partial results in the order of the tasks. */
class KernelCall {
 public:
  KernelCall();
  ~KernelCall();
  KernelCall(const KernelCall&) = delete;
  KernelCall& operator=(const KernelCall&) = delete;

  /** Workers, the caller included. */
  int threads() const;

  /** body(task, worker) for every task in [0, count), lowest first; worker is in [0, threads()). The first
   * exception is rethrown here once all workers have stopped. Denormals are flushed to zero in the body, on
   * every thread alike. Not to be nested. */
  void run(int64_t count, const std::function<void(int64_t task, int worker)>& body);

  /** Scratch shared by all workers of this call, 64-byte aligned, uninitialised. The memory is kept between
   * calls (fresh pages at every step cost a fifth of the step). A second shared() ends the first. */
  void* shared(size_t bytes);
  /** The same, for one worker. */
  void* local(int worker, size_t bytes);
};

/** Threads of the pool: set_kernel_threads(), else GAVEL_THREADS, else the processors this process may use.
 */
int kernel_threads();
/** Rebuilds the pool with `threads` workers (at least 1); waits for a kernel in flight. */
void set_kernel_threads(int threads);

/** Cuts a buffer into aligned arrays, so that one allocation serves a kernel: first with a null base to
 * learn the size, then with the memory. */
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(int64_t count) {
    char* at = base_ ? base_ + used_ : nullptr;
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace gavel
