#include "serve/batch_queue.h"

#include <exception>

namespace gavel {

BatchQueue::BatchQueue(JudgeFunction judge, BatchQueueOptions options)
    : judge_(std::move(judge)), options_(options), thread_([this] { work(); }) {}

BatchQueue::~BatchQueue() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  arrived_.notify_all();
  thread_.join();
}

std::optional<std::future<std::vector<Verdict>>> BatchQueue::submit(std::vector<PreferenceRow> rows,
                                                                    std::chrono::steady_clock::time_point deadline) {
  std::lock_guard lock(mutex_);
  if (ends_ || waiting_ + rows.size() > options_.capacity) return std::nullopt;
  waiting_ += rows.size();
  Job& job = jobs_.emplace_back(Job{std::move(rows), deadline, {}});
  auto future = job.promise.get_future();
  arrived_.notify_one();
  return future;
}

BatchQueue::Counts BatchQueue::counts() const {
  std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.waiting = waiting_;
  return counts;
}

void BatchQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [&] { return ends_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    auto until = std::chrono::steady_clock::now() + options_.wait;
    arrived_.wait_until(lock, until, [&] { return ends_ || waiting_ >= options_.batch_pairs; });
    std::vector<Job> taken;
    size_t pairs = 0;
    // A request larger than a batch is judged alone, in several.
    while (!jobs_.empty() && (taken.empty() || pairs + jobs_.front().rows.size() <= options_.batch_pairs)) {
      pairs += jobs_.front().rows.size();
      taken.push_back(std::move(jobs_.front()));
      jobs_.pop_front();
    }
    waiting_ -= pairs;
    lock.unlock();
    judge(taken);
    taken.clear();
    lock.lock();
  }
}

void BatchQueue::judge(std::vector<Job>& jobs) {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(jobs, [&](const Job& job) { return job.deadline < now; });  // nobody waits for these
  if (jobs.empty()) return;
  std::vector<PreferenceRow> rows;
  for (const Job& job : jobs) rows.insert(rows.end(), job.rows.begin(), job.rows.end());
  {
    std::lock_guard lock(mutex_);
    ++counts_.batches;
    counts_.pairs += rows.size();
  }
  try {
    std::vector<Verdict> verdicts = judge_(rows);
    auto next = verdicts.begin();
    for (Job& job : jobs) {
      auto end = next + static_cast<std::ptrdiff_t>(job.rows.size());
      job.promise.set_value(std::vector<Verdict>(next, end));
      next = end;
    }
  } catch (...) {
    // One request must not end the service; each caller is told.
    for (Job& job : jobs) job.promise.set_exception(std::current_exception());
  }
}

}  // namespace gavel
