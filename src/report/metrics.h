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

  void write(const MetricRow& row);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/** All lines of such a file; half a line at its end is left out, null is read as NaN. Throws Error naming
 * file and line when a line is not an object of numbers and texts. */
std::vector<MetricRow> read_metrics(const std::filesystem::path& path);

/** Removes the lines whose number `name` is above `last` (a resumed run writes them again). No file: nothing.
 */
void cut_metrics(const std::filesystem::path& path, const std::string& name, int64_t last);

/** The number called `name`, or NaN when the row has none. */
double metric(const MetricRow& row, const std::string& name);

}  // namespace gavel
