#include "report/training_display.h"

#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "report/table.h"

namespace gavel {

void TrainingDisplay::begin(int64_t step, int64_t total_steps) {
  total_steps_ = total_steps;
  progress_ = std::make_unique<Progress>(
      total_steps,
      Progress::Options{
          .label = "train", .start = step, .silent = mode_ == Mode::kJson || !spdlog::should_log(spdlog::level::info)});
}

void TrainingDisplay::step(const StepFigures& f) {
  if (!progress_) return;
  std::vector<std::string> figures = {fmt::format("loss {:.4f}", f.smoothed_loss), fmt::format("step {:.4f}", f.loss),
                                      fmt::format("lr {:.1e}", f.learning_rate),
                                      fmt::format("{:.0f} tokens/s", f.tokens_per_second)};
  if (f.memory_bytes >= 0) figures.push_back(format_bytes(static_cast<uint64_t>(f.memory_bytes)));
  progress_->update(f.step, std::move(figures));
}

void TrainingDisplay::log(const StepFigures& f) {
  if (!progress_) return;
  std::string left = f.step < total_steps_ && std::isfinite(progress_->seconds_left())
                         ? fmt::format("  {} left", format_duration(progress_->seconds_left()))
                         : "";
  std::string memory = f.memory_bytes >= 0 ? "  " + format_bytes(static_cast<uint64_t>(f.memory_bytes)) : "";
  std::string mfu = std::isfinite(f.mfu) ? fmt::format("  MFU {:.1f} %", 100 * f.mfu) : "";
  progress_->line(fmt::format(
      "step {}/{}  mean loss {:.4f}  smoothed {:.4f}  step loss {:.4f}  accuracy {:.4f}  lr "
      "{:.3e}  grad norm {:.3f}  {}{}  "
      "{:.0f} tokens/s  {:.0f} non-pad tokens/s{}{}",
      f.step, total_steps_, f.mean_loss, f.smoothed_loss, f.loss, f.accuracy, f.learning_rate, f.gradient_norm,
      format_duration(f.elapsed_seconds), left, f.tokens_per_second, f.real_tokens_per_second, mfu, memory));
}

void TrainingDisplay::row(const MetricRow& row) {
  if (mode_ != Mode::kJson) return;
  std::string line = to_json_line(row) + '\n';
  bool written = std::fwrite(line.data(), 1, line.size(), stdout) == line.size() && std::fflush(stdout) == 0;
  if (!written && !output_lost_) spdlog::warn("standard output can't be written any more; training goes on");
  output_lost_ = !written;
}

void TrainingDisplay::event(const std::string& name, const MetricRow& more) {
  MetricRow line = {{"kind", "event"}, {"event", name}};
  line.insert(line.end(), more.begin(), more.end());
  row(line);
}

void TrainingDisplay::info(const std::string& text) {
  if (progress_) progress_->hide();
  spdlog::info("{}", text);
}

void TrainingDisplay::result(const std::string& text) {
  if (mode_ == Mode::kJson) return;
  if (progress_) progress_->hide();
  std::fputs((text + "\n").c_str(), stdout);
}

void TrainingDisplay::warn(const std::string& text) {
  if (progress_) progress_->hide();
  spdlog::warn("{}", text);
  event("warning", {{"message", text}});
}

std::unique_ptr<Progress> TrainingDisplay::evaluation(int64_t rows) {
  if (progress_) progress_->hide();
  return std::make_unique<Progress>(
      rows, Progress::Options{.label = "evaluate",
                              .unit = "row",
                              .silent = mode_ == Mode::kJson || !spdlog::should_log(spdlog::level::info)});
}

void TrainingDisplay::end() {
  if (progress_) progress_->finish();
  progress_.reset();
}

}  // namespace gavel
