#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "judge/judge.h"
#include "rows/preferences.h"

namespace gavel {

/** Judges rows, in order. Called from one thread. */
using JudgeFunction = std::function<std::vector<Verdict>(std::span<const PreferenceRow>)>;

struct BatchQueueOptions {
  /** Pairs judged together at most; a single request with more is judged in one call all the same. */
  size_t batch_pairs = 8;
  /** How long a pair waits for others to share its batch. */
  std::chrono::milliseconds wait{10};
  /** Pairs that may wait; requests beyond that are refused. */
  size_t capacity = 64;
};

/** Gathers the pairs of several callers into batches for one judging thread (dynamic batching), in the order in which
 * they came. */
class BatchQueue {
 public:
  BatchQueue(JudgeFunction judge, BatchQueueOptions options);
  /** Waits until all requests that were taken in are judged. */
  ~BatchQueue();
  BatchQueue(const BatchQueue&) = delete;
  BatchQueue& operator=(const BatchQueue&) = delete;

  /** What became of a request's pairs: their verdicts in order, or what the judge threw, or neither where they still waited at
   * their deadline, or when abandon() was called. */
  struct Outcome {
    std::vector<Verdict> verdicts;
    std::exception_ptr error;
    bool judged = false;
  };
  using Done = std::function<void(Outcome)>;

  /** Takes in the pairs of one request, or returns false when they do not fit. `done` is called once, on the judging thread. */
  bool submit(std::vector<PreferenceRow> rows, std::chrono::steady_clock::time_point deadline, Done done);
  /** Gives up what waits; what is being judged is judged. */
  void abandon();

  struct Counts {
    uint64_t batches = 0, pairs = 0;
    /** Tokens that were read for verdicts, each text once. */
    uint64_t tokens = 0;
    /** What judging took, all batches together; how long requests waited before it, and how many did. */
    double judging_seconds = 0, waiting_seconds = 0;
    uint64_t waited = 0;
    size_t waiting = 0;
  };
  Counts counts() const;

 private:
  struct Job {
    std::vector<PreferenceRow> rows;
    std::chrono::steady_clock::time_point deadline;
    Done done;
    std::chrono::steady_clock::time_point came = std::chrono::steady_clock::now();
  };
  void work();
  void judge(std::vector<Job>& jobs);

  JudgeFunction judge_;
  BatchQueueOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Job> jobs_;
  size_t waiting_ = 0;  // pairs in jobs_
  bool ends_ = false;
  Counts counts_;
  std::thread thread_;
};

}  // namespace gavel
