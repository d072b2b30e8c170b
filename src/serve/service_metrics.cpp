#include "serve/service_metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace gavel {

void ServiceMetrics::count(int status, double seconds) {
  std::lock_guard lock(mutex_);
  ++by_status_[status];
  ++requests_;
  seconds_ += seconds;
  ++buckets_[static_cast<size_t>(std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin())];
}

std::string ServiceMetrics::text(const BatchQueue::Counts& queue, size_t active, size_t connections) const {
  std::lock_guard lock(mutex_);
  std::string text;
  auto head = [&](const char* name, const char* type, const char* help) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  };
  auto single = [&](const char* name, const char* type, const char* help, uint64_t value) {
    head(name, type, help);
    text += fmt::format("{} {}\n", name, value);
  };
  head("gavel_requests_total", "counter", "Requests to judge by HTTP status.");
  for (const auto& [status, count] : by_status_)
    text += fmt::format("gavel_requests_total{{status=\"{}\"}} {}\n", status, count);
  head("gavel_request_seconds", "histogram", "Time from a request's head to its answer.");
  uint64_t sum = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    sum += buckets_[i];
    text += fmt::format("gavel_request_seconds_bucket{{le=\"{}\"}} {}\n",
                        i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf", sum);
  }
  text += fmt::format("gavel_request_seconds_sum {:.6f}\ngavel_request_seconds_count {}\n", seconds_, requests_);
  single("gavel_pairs_total", "counter", "Pairs judged.", queue.pairs);
  single("gavel_batches_total", "counter", "Batches that the pairs were judged in.", queue.batches);
  single("gavel_waiting_pairs", "gauge", "Pairs waiting to be judged.", queue.waiting);
  single("gavel_active_requests", "gauge", "Requests whose pairs are judged or wait for it.", active);
  single("gavel_connections", "gauge", "Open connections.", connections);
  return text;
}

}  // namespace gavel
