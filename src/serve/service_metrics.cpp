#include "serve/service_metrics.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/version.h"

namespace gavel {

namespace {

/** Seconds of processor time of this process. */
double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/** 0 where the system does not tell. */
uint64_t resident_memory() {
  unsigned long long all = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
    if (std::fscanf(file, "%llu %llu", &all, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

void ServiceMetrics::count(const std::string& route, int status, double seconds) {
  std::lock_guard lock(mutex_);
  ++by_route_and_status_[{route, status}];
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
  auto single = [&](const char* name, const char* type, const char* help, auto value) {
    head(name, type, help);
    text += fmt::format("{} {}\n", name, value);
  };
  auto sum_and_count = [&](const char* name, const char* help, double sum, uint64_t count) {
    head(name, "summary", help);
    text += fmt::format("{}_sum {:.6f}\n{}_count {}\n", name, sum, name, count);
  };
  head("gavel_build_info", "gauge", "Always 1; the program's version is a label.");
  text += fmt::format("gavel_build_info{{version=\"{}\"}} 1\n", version());
  head("gavel_requests_total", "counter", "Questions by route and HTTP status.");
  for (const auto& [key, count] : by_route_and_status_)
    text += fmt::format("gavel_requests_total{{route=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  head("gavel_request_duration_seconds", "histogram", "Time from a question's head to its answer.");
  uint64_t sum = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    sum += buckets_[i];
    text += fmt::format("gavel_request_duration_seconds_bucket{{le=\"{}\"}} {}\n",
                        i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf", sum);
  }
  text += fmt::format("gavel_request_duration_seconds_sum {:.6f}\ngavel_request_duration_seconds_count {}\n", seconds_,
                      requests_);
  sum_and_count("gavel_queue_wait_seconds", "How long questions waited to be judged.", queue.waiting_seconds,
                queue.waited);
  sum_and_count("gavel_batch_duration_seconds", "How long batches took to judge.", queue.judging_seconds,
                queue.batches);
  single("gavel_pairs_total", "counter", "Pairs judged (rows of a reward hold two texts).", queue.pairs);
  single("gavel_tokens_total", "counter", "Tokens of the texts that were judged.", queue.tokens);
  single("gavel_waiting_pairs", "gauge", "Pairs waiting to be judged.", queue.waiting);
  single("gavel_active_requests", "gauge", "Questions whose pairs are judged or wait for it.", active);
  single("gavel_open_connections", "gauge", "Open connections.", connections);
  single("process_start_time_seconds", "gauge", "When the service began, in seconds since 1970.", started_);
  single("process_cpu_seconds_total", "counter", "Processor time, user and system.", processor_seconds());
  single("process_resident_memory_bytes", "gauge", "Memory that the process holds.", resident_memory());
  return text;
}

}  // namespace gavel
