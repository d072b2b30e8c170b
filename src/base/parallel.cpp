#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gavel {

int worker_count(int requested) {
  if (requested > 0) return requested;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void parallel_for(size_t count, size_t piece, int threads, const std::function<void(size_t, size_t)>& body) {
  piece = std::max<size_t>(1, piece);
  size_t workers = std::min(static_cast<size_t>(worker_count(threads)), (count + piece - 1) / piece);
  if (workers <= 1) {
    if (count > 0) body(0, count);
    return;
  }
  std::atomic<size_t> next{0};
  std::exception_ptr first_error;
  std::mutex error_mutex;
  auto work = [&] {
    try {
      for (size_t begin = next.fetch_add(piece); begin < count; begin = next.fetch_add(piece))
        body(begin, std::min(begin + piece, count));
    } catch (...) {
      std::lock_guard lock(error_mutex);
      if (!first_error) first_error = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> pool;
    for (size_t i = 1; i < workers; ++i) pool.emplace_back(work);
    work();
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace gavel
