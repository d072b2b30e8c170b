#include "report/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/terminal.h"
#include "report/table.h"

namespace gavel {

namespace {

constexpr double kRateSeconds = 30;
constexpr size_t kNarrowestBar = 10;
constexpr size_t kWidestBar = 40;

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string format_rate(double rate, const std::string& unit) {
  if (rate >= 100) return fmt::format("{:.0f} {}s/s", rate, unit);
  if (rate >= 10) return fmt::format("{:.1f} {}s/s", rate, unit);
  if (rate >= 1) return fmt::format("{:.2f} {}s/s", rate, unit);
  return fmt::format("{} a {}", format_duration(1 / rate), unit);
}

}  // namespace

Progress::Progress(int64_t total, Options options) : total_(total), options_(std::move(options)) {
  if (!options_.clock) options_.clock = steady_seconds;
  if (!options_.out) {
    options_.out = &std::cerr;
    options_.terminal = stderr_is_terminal();
  }
  start_ = last_shown_ = options_.clock();
  done_ = options_.start;
  recent_.emplace_back(start_, done_);
}

Progress::Progress(int64_t total, std::string label, std::string unit)
    : Progress(total, Options{.label = std::move(label),
                              .unit = std::move(unit),
                              .silent = !spdlog::should_log(spdlog::level::info)}) {}

Progress::~Progress() {
  clear();
}

void Progress::update(int64_t done, double loss) {
  std::vector<std::string> figures;
  if (!std::isnan(loss)) figures.push_back(fmt::format("loss {:.4f}", loss));
  update(done, std::move(figures));
}

void Progress::update(int64_t done, std::vector<std::string> figures) {
  double now = options_.clock();
  done_ = done;
  figures_ = std::move(figures);
  recent_.emplace_back(now, done);
  // The entry before the window stays, so that slow steps still have a rate.
  while (recent_.size() > 2 && recent_[1].first < now - kRateSeconds) recent_.pop_front();
  // Fast updates would make the window long: entries closer than a hundredth of it are merged into the
  // latest.
  if (recent_.size() > 2 && now - recent_[recent_.size() - 3].first < kRateSeconds / 100)
    recent_.erase(recent_.end() - 2);
  if (options_.silent) return;
  if (options_.terminal) {
    if (!bar_shown_ || now - last_shown_ >= options_.redraw_seconds || done == total_) draw(now);
  } else if (now - last_shown_ >= options_.line_seconds) {
    *options_.out << status(SIZE_MAX) << '\n' << std::flush;
    last_shown_ = now;
  }
}

void Progress::line(std::string_view text) {
  if (options_.silent) return;
  bool redraw = bar_shown_;
  clear();
  *options_.out << text << '\n' << std::flush;
  if (redraw) draw(options_.clock());
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  clear();
  if (options_.silent) return;
  double seconds = options_.clock() - start_;
  *options_.out << fmt::format("{}{} {}s in {}\n", options_.label.empty() ? "" : options_.label + ": ",
                               format_count(done_), options_.unit, format_duration(seconds))
                << std::flush;
}

double Progress::rate() const {
  auto [begin, first] = recent_.front();
  auto [end, last] = recent_.back();
  return end > begin && last > first ? static_cast<double>(last - first) / (end - begin) : 0;
}

double Progress::seconds_left() const {
  double speed = rate();
  if (total_ <= 0 || speed <= 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(std::max<int64_t>(0, total_ - done_)) / speed;
}

std::string Progress::status(size_t width) const {
  std::string text = options_.label.empty() ? "" : options_.label + "  ", end;
  text += total_ > 0 ? fmt::format("{}/{}", format_count(done_), format_count(total_)) : format_count(done_);
  if (total_ > 0) text += fmt::format("  {}%", std::min<int64_t>(100, 100 * done_ / total_));
  if (double speed = rate(); speed > 0) {
    end = "  " + format_rate(speed, options_.unit);
    if (total_ > 0) end += fmt::format("  {} left", format_duration(seconds_left()));
  }
  for (const std::string& figure : figures_) {
    if (text.size() + 2 + figure.size() + end.size() > width) break;
    text += "  " + figure;
  }
  return text + end;
}

std::string Progress::bar_line() const {
  // The last column stays free: some terminals wrap there.
  size_t width = (options_.width > 0 ? options_.width : terminal_width()) - 1;
  std::string text = status(width - std::min(width, kNarrowestBar + 4));
  if (text.size() > width) return text.substr(0, width);
  size_t room = width - text.size();
  if (total_ <= 0 || room < kNarrowestBar + 4) return text;
  size_t cells = std::min(kWidestBar, room - 4);
  double share = std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
  auto filled = static_cast<size_t>(share * static_cast<double>(cells));
  std::string bar(filled, '=');
  if (filled < cells) bar += '>' + std::string(cells - filled - 1, ' ');
  return fmt::format("[{}]  {}", bar, text);
}

void Progress::draw(double now) {
  // Carriage return, the line, and "erase to the line's end" (ECMA-48).
  *options_.out << '\r' << bar_line() << "\x1b[K" << std::flush;
  bar_shown_ = true;
  last_shown_ = now;
}

void Progress::clear() {
  if (!bar_shown_) return;
  *options_.out << "\r\x1b[K" << std::flush;
  bar_shown_ = false;
}

}  // namespace gavel
