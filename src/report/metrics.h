#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace gavel {

using MetricValue = std::variant<int64_t, double, std::string>;
/** Names and values of one line, in order. */
using MetricRow = std::vector<std::pair<std::string, MetricValue>>;

/** Appends JSON lines to a file. Each line is handed to the system whole as it is written, so that a killed
 * run leaves all its lines; half a line at the file's end (a full disk, a power cut) is cut off when it is
 * opened again. Numbers that are not finite are written as null. Throws Error naming the file. */
class MetricsWriter {
 public:
  explicit MetricsWriter(std::filesystem::path path);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  /** Appends a row as one line. Throws Error when it can't be written, and leaves no part of it behind. */
  void write(const MetricRow& row);
  /** Waits until all rows are on disk. */
  void sync();
  /** Whether the file is still there under its name. */
  bool is_there() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

/** One line of JSON without its end. */
std::string to_json_line(const MetricRow& row);

/** All lines of a MetricsWriter's file; half a line at its end is left out, null is read as NaN. Throws Error naming
 * file and line when a line is not an object of numbers and texts. */
std::vector<MetricRow> read_metrics(const std::filesystem::path& path);

/** For a run that goes on from `step` and was last evaluated at `evaluated_step`: removes the lines of later steps and
 * evaluations, which the run writes again. Does nothing when there is no file. */
void cut_metrics(const std::filesystem::path& path, int64_t step, int64_t evaluated_step);

/** The number called `name`, or NaN when the row has none. */
double metric(const MetricRow& row, const std::string& name);

}  // namespace gavel
