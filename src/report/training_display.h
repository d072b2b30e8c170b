#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "report/metrics.h"
#include "report/progress.h"

namespace gavel {

/** What there is to say of a step. */
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
};

/** Shows a training run to whoever sits in front of it: on a terminal a bar and lines, in a pipe plain lines,
 * or JSON lines on standard output. Text goes to standard error. For one thread. */
class TrainingDisplay {
 public:
  enum class Mode : uint8_t {
    kText,  // follows the logger's level: --quiet leaves warnings
    kJson,
  };
  explicit TrainingDisplay(Mode mode) : mode_(mode) {}

  void begin(int64_t step, int64_t total_steps);
  /** Moves the bar. */
  void step(const StepFigures& figures);
  /** A line with all figures. */
  void log(const StepFigures& figures);
  /** A line of metrics.jsonl, for JSON. */
  void row(const MetricRow& row);
  /** Something that happened, for JSON: {"kind": "event", "event": name, …}. */
  void event(const std::string& name, const MetricRow& more);
  void info(const std::string& text);
  void warn(const std::string& text);
  /** A bar for an evaluation; the training bar is hidden. */
  std::unique_ptr<Progress> evaluation(int64_t rows);
  void end();

 private:
  Mode mode_;
  int64_t total_steps_ = 0;
  bool output_lost_ = false;
  std::unique_ptr<Progress> progress_;
};

}  // namespace gavel
