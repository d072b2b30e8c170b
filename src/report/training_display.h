#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "report/metrics.h"
#include "report/progress.h"

namespace gavel {

/** The numbers that are shown of a step: its own loss and norm, means since the start, and speeds. */
struct StepFigures {
  int64_t step = 0;
  double loss = 0;
  double smoothed_loss = 0;
  double mean_loss = 0;
  double accuracy = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  double elapsed_seconds = 0;
  double tokens_per_second = 0;
  double real_tokens_per_second = 0;
  int64_t memory_bytes = -1;  // -1: not known
  /** Share of the devices' peak, of the steps since the last log line; NaN: not known. */
  double mfu = std::numeric_limits<double>::quiet_NaN();
};

/** Shows how a training run goes: text on standard error (with a bar on a terminal), or JSON lines on standard output.
 * For one thread. */
class TrainingDisplay {
 public:
  enum class Mode : uint8_t {
    kText,  // follows the logger's level: --quiet leaves warnings
    kJson,
  };
  explicit TrainingDisplay(Mode mode) : mode_(mode) {}

  /** Shows the bar; `step`: steps done already. */
  void begin(int64_t step, int64_t total_steps);
  /** Moves the bar. */
  void step(const StepFigures& figures);
  /** Prints a line with all figures. */
  void log(const StepFigures& figures);
  /** Prints a line of metrics.jsonl; in kJson alone. */
  void row(const MetricRow& row);
  /** Prints {"kind": "event", "event": name, …}; in kJson alone. */
  void event(const std::string& name, const MetricRow& more);
  void info(const std::string& text);
  /** Prints a line on standard output, whatever the logger's level; in kText alone. */
  void result(const std::string& text);
  /** In kJson also the event "warning". */
  void warn(const std::string& text);
  /** A bar for an evaluation; the training bar is hidden. */
  std::unique_ptr<Progress> evaluation(int64_t rows);
  /** Takes the bar away and prints how many steps took how long. */
  void end();

 private:
  Mode mode_;
  int64_t total_steps_ = 0;
  bool output_lost_ = false;
  std::unique_ptr<Progress> progress_;
};

}  // namespace gavel
