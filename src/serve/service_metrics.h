#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/clock.h"
#include "serve/batch_queue.h"

namespace gavel {

/** Counts of a service in Prometheus' text format (version 0.0.4). For several threads. */
class ServiceMetrics {
 public:
  /** A request to a route of the service ended with an HTTP status after so many seconds. */
  void count(const std::string& route, int status, double seconds);
  /** `active`: requests whose pairs are judged or wait for it; `connections`: open ones. */
  std::string text(const BatchQueue::Counts& queue, size_t active, size_t connections) const;

 private:
  static constexpr std::array<double, 11> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> by_route_and_status_;
  std::array<uint64_t, kBounds.size() + 1> buckets_{};
  double seconds_ = 0;
  const double started_ = wall_seconds();
  uint64_t requests_ = 0;
};

}  // namespace gavel
