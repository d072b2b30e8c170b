#include "serve/batch_queue.h"

#include <chrono>
#include <iterator>
#include <utility>

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

bool BatchQueue::submit(std::vector<PreferenceRow> rows, std::chrono::steady_clock::time_point deadline, Done done) {
  std::lock_guard lock(mutex_);
  if (ends_ || waiting_ + rows.size() > options_.capacity) return false;
  waiting_ += rows.size();
  jobs_.push_back({std::move(rows), deadline, std::move(done), std::chrono::steady_clock::now()});
  arrived_.notify_one();
  return true;
}

void BatchQueue::abandon() {
  std::deque<Job> given_up;
  {
    std::lock_guard lock(mutex_);
    given_up.swap(jobs_);
    waiting_ = 0;
  }
  for (Job& job : given_up) job.done({});
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
  std::erase_if(jobs, [&](Job& job) {
    const bool late = job.deadline < now;  // nobody waits for these
    if (late) job.done({});
    return late;
  });
  if (jobs.empty()) return;
  std::vector<PreferenceRow> rows;
  for (const Job& job : jobs) rows.insert(rows.end(), job.rows.begin(), job.rows.end());
  {
    std::lock_guard lock(mutex_);
    ++counts_.batches;
    counts_.pairs += rows.size();
    counts_.waited += jobs.size();
    for (const Job& job : jobs) counts_.waiting_seconds += std::chrono::duration<double>(now - job.came).count();
  }
  std::vector<Verdict> verdicts;
  std::exception_ptr error;
  try {
    verdicts = judge_(rows);
  } catch (...) {
    error = std::current_exception();  // one request must not end the service; each caller is told
  }
  {
    std::lock_guard lock(mutex_);
    counts_.judging_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - now).count();
    for (const Verdict& verdict : verdicts) counts_.tokens += static_cast<uint64_t>(verdict.length + verdict.length_b);
  }
  auto next = std::make_move_iterator(verdicts.begin());
  for (Job& job : jobs) {
    Outcome outcome;
    outcome.judged = true;
    outcome.error = error;
    const auto count = static_cast<std::ptrdiff_t>(job.rows.size());
    if (!error) outcome.verdicts.assign(next, next + count);
    if (!error) next += count;
    job.done(std::move(outcome));
  }
}

}  // namespace gavel
