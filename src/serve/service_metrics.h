#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "serve/batch_queue.h"

namespace gavel {

/** Counts of a service in Prometheus' text format (version 0.0.4). For several threads. */
class ServiceMetrics {
 public:
  /** A request ended with an HTTP status after so many seconds. */
  void count(int status, double seconds);
  /** `active`: requests whose pairs are judged or wait for it; `connections`: open ones. */
  std::string text(const BatchQueue::Counts& queue, size_t active, size_t connections) const;

 private:
  static constexpr std::array<double, 11> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  mutable std::mutex mutex_;
  std::map<int, uint64_t> by_status_;
  std::array<uint64_t, kBounds.size() + 1> buckets_{};
  double seconds_ = 0;
  uint64_t requests_ = 0;
};

}  // namespace gavel
