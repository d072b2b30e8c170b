#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** Shows how far a long piece of work is: on a terminal a bar in one line that is redrawn, elsewhere a plain line now
 * and then (Options says how often). Text printed meanwhile goes through line(), which keeps the bar whole. For one
 * thread. */
class Progress {
 public:
  struct Options {
    /** What stands before the bar: "train". */
    std::string label;
    /** What is counted: "step", "row" (the plural adds an s). */
    std::string unit = "step";
    /** Where it goes; nullptr = standard error. */
    std::ostream* out = nullptr;
    /** Whether `out` is a terminal; with out = nullptr this is found out. */
    bool terminal = false;
    /** Columns of the terminal; 0 = found out (80 when it can't be). */
    size_t width = 0;
    /** How much is done before it begins (a resumed run). */
    int64_t start = 0;
    /** Shows nothing at all. */
    bool silent = false;
    /** Seconds between redrawings, and between plain lines. */
    double redraw_seconds = 0.1;
    double line_seconds = 30;
    /** Monotonic seconds; empty = the steady clock. */
    std::function<double()> clock;
  };

  /** `total` 0 = unknown: no bar and no time left. Rates are measured from here on. */
  Progress(int64_t total, Options options);
  /** Standard settings on standard error; silent where the logger shows no information either. */
  Progress(int64_t total, std::string label, std::string unit = "step");
  /** Takes the bar away. */
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /** `done` of the total are done. A loss that is NaN is not shown. */
  void update(int64_t done, double loss = std::numeric_limits<double>::quiet_NaN());
  /** The same with any texts in place of the loss ("loss 0.7313", "lr 4.9e-04"); those that do not fit on the line are
   * left out, the last ones first. */
  void update(int64_t done, std::vector<std::string> figures);
  /** Takes the bar away until the next update, for other output. */
  void hide() { clear(); }
  /** Prints a line above the bar. */
  void line(std::string_view text);
  /** Takes the bar away and prints one plain line with count and time. */
  void finish();

  /** Units a second over about the last 30 seconds; 0 before there are two updates. */
  double rate() const;
  /** Seconds that are left at this rate; NaN when not known. */
  double seconds_left() const;

 private:
  /** Count, rate and as many figures as fit into `width` letters. */
  std::string status(size_t width) const;
  std::string bar_line() const;
  void draw(double now);
  void clear();

  int64_t total_;
  Options options_;
  double start_ = 0;
  int64_t done_ = 0;
  std::vector<std::string> figures_;
  double last_shown_ = 0;
  bool bar_shown_ = false;
  bool finished_ = false;
  /** (time, done), oldest first. */
  std::deque<std::pair<double, int64_t>> recent_;
};

}  // namespace gavel
