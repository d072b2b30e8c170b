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

  /** body(task, worker) for every task in [0, count), each begun after those before it; worker is in [0, threads()). After
   * an exception no further task begins, and the first one is rethrown here once all workers have stopped. Denormals are
   * flushed to zero in the body, on every thread alike. A body must not call run. */
  void run(int64_t count, const std::function<void(int64_t task, int worker)>& body);

  /** Memory shared by all workers, 64-byte aligned, uninitialised. The pool keeps it for later calls (fresh pages at every
   * step cost a fifth of the step), so it is one block: what an earlier shared() of this call returned is no longer valid.
   */
  void* shared(size_t bytes);
  /** The same for one worker alone: one block for each. */
  void* local(int worker, size_t bytes);
};

/** Threads of the pool: as many as the environment variable GAVEL_THREADS says, else as the processors that this process
 * may use, unless set_kernel_threads was called. */
int kernel_threads();
/** Rebuilds the pool with `threads` workers (at least 1); waits for a kernel in flight. For tests of what must not depend on
 * their number. */
void set_kernel_threads(int threads);

/** Cuts a block of memory into aligned arrays, so that one allocation serves a kernel. The arrays are taken twice: from a
 * null base to learn their size, then from the memory. */
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
