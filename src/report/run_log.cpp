#include "report/run_log.h"

#include <cmath>

#include "base/clock.h"
#include "base/error.h"

namespace gavel {

namespace {

const std::string* text(const MetricRow& row, const std::string& name) {
  for (const auto& [key, value] : row)
    if (key == name) return std::get_if<std::string>(&value);
  return nullptr;
}

}  // namespace

RunLog::RunLog(std::filesystem::path folder, bool tensorboard, int64_t first_step,
               std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), warn_(std::move(warn)) {
  metrics_.emplace(folder_ / "metrics.jsonl");
  outputs_.push_back({"metrics.jsonl", [this](const MetricRow& row) { write_metrics(row); }});
  if (!tensorboard) return;
  events_.emplace(folder_, first_step);
  outputs_.push_back({"the TensorBoard event file", [this](const MetricRow& row) { write_events(row); }});
}

void RunLog::write(const MetricRow& row) {
  for (Output& output : outputs_) {
    output.waiting.push_back(row);
    flush(output);
  }
}

void RunLog::flush(Output& output) {
  try {
    while (!output.waiting.empty()) {
      output.write(output.waiting.front());
      output.waiting.pop_front();
    }
    if (output.failing)
      warn_(fmt::format("{}: {} can be written again; no line is missing", folder_.string(), output.name));
    output.failing = false;
  } catch (const Error& error) {
    if (!output.failing)
      warn_(fmt::format("{}; training goes on, and lines wait until it can be written", error.what()));
    output.failing = true;
  }
}

void RunLog::write_metrics(const MetricRow& row) {
  if (!metrics_ || !metrics_->is_there()) {
    metrics_.reset();
    metrics_.emplace(folder_ / "metrics.jsonl");
  }
  metrics_->write(row);
}

void RunLog::write_events(const MetricRow& row) {
  const std::string* kind = text(row, "kind");
  if (kind == nullptr || (*kind != "train" && *kind != "eval")) return;
  auto step = static_cast<int64_t>(metric(row, "step"));
  if (!events_ || !events_->is_there()) {
    events_.reset();
    events_.emplace(folder_, step);
  }
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : row) {
    double number = metric(row, name);
    if (name != "step" && std::isfinite(number))
      scalars.emplace_back((*kind == "train" ? "train/" : "valid/") + name, number);
  }
  events_->write(step, wall_seconds(), scalars);
}

void RunLog::sync() {
  for (Output& output : outputs_) flush(output);
  try {
    if (metrics_) metrics_->sync();
  } catch (const Error& error) {
    warn_(error.what());
  }
}

}  // namespace gavel
