#pragma once
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/metrics.h"
#include "report/tensorboard.h"

namespace gavel {

/** Writes a run's rows to metrics.jsonl and, if asked to, to an event file for TensorBoard. A run must not end because
 * its log can't be written: rows wait in memory until it can (a full disk), and files that were removed are begun
 * anew. */
class RunLog {
 public:
  /** `first_step`: that of the rows to come. `warn` is called once when a file can't be written, and once when it can
   * be again. Throws Error when the files can't be opened now. */
  RunLog(std::filesystem::path folder, bool tensorboard, int64_t first_step,
         std::function<void(const std::string&)> warn);

  /** A row of metrics.jsonl; rows of kind "train" and "eval" become scalars train/… and valid/…. */
  void write(const MetricRow& row);
  /** Waits until all rows are on disk, as far as they can be written. */
  void sync();

 private:
  /** One file and the rows that it still lacks. */
  struct Output {
    std::string name;
    std::function<void(const MetricRow&)> write;
    std::deque<MetricRow> waiting = {};
    bool failing = false;
  };
  void flush(Output& output);
  void write_metrics(const MetricRow& row);
  void write_events(const MetricRow& row);

  std::filesystem::path folder_;
  std::function<void(const std::string&)> warn_;
  std::optional<MetricsWriter> metrics_;
  std::optional<EventWriter> events_;
  std::vector<Output> outputs_;
};

}  // namespace gavel
