#include "report/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/append.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_number.h"
#include "base/json_text.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

/** Bytes up to and with the last line end. */
size_t whole_lines(std::string_view text) {
  size_t end = text.rfind('\n');
  return end == std::string_view::npos ? 0 : end + 1;
}

MetricRow parse_line(std::string_view line, const std::filesystem::path& path, size_t number) {
  Json object = Json::parse(within_json_depth(line, path.string()), nullptr, false);
  if (!object.is_object())
    fail("{}: line {}: expected a JSON object, found '{}'", path.string(), number, line.substr(0, 60));
  MetricRow row;
  for (const auto& [name, value] : object.items()) {
    if (const std::optional<int64_t> whole = whole_number(value))
      row.emplace_back(name, *whole);
    else if (value.is_number())
      row.emplace_back(name, value.get<double>());
    else if (value.is_null())
      row.emplace_back(name, std::numeric_limits<double>::quiet_NaN());
    else if (value.is_string())
      row.emplace_back(name, value.get<std::string>());
    else
      fail("{}: line {}: '{}': expected a number or a text, found {}", path.string(), number, name, value.type_name());
  }
  return row;
}

template <class Use>
void for_each_line(std::string_view text, Use use) {
  size_t number = 0;
  for (size_t begin = 0, size = whole_lines(text); begin < size;) {
    size_t end = text.find('\n', begin);
    ++number;
    if (end > begin) use(text.substr(begin, end - begin), number);
    begin = end + 1;
  }
}

}  // namespace

std::string to_json_line(const MetricRow& row) {
  Json object = Json::object();
  for (const auto& [name, value] : row) std::visit([&](const auto& v) { object[name] = v; }, value);
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

MetricsWriter::MetricsWriter(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = open_to_write(path_, O_WRONLY | O_APPEND, 0644);
  try {
    auto file = MappedFile::open(path_);
    size_t size = whole_lines(file->text()), all = file->text().size();
    file.reset();
    if (size < all && ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0)
      fail("{}: half a line at its end can't be cut off: {}", path_.string(), std::strerror(errno));
    size_ = static_cast<int64_t>(size);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

MetricsWriter::~MetricsWriter() {
  ::close(descriptor_);
}

void MetricsWriter::write(const MetricRow& row) {
  append_whole(descriptor_, path_, to_json_line(row) + '\n', size_);
}

void MetricsWriter::sync() {
  if (::fsync(descriptor_) != 0) fail("{}: can't be synced to disk: {}", path_.string(), std::strerror(errno));
}

bool MetricsWriter::is_there() const {
  return is_at(descriptor_, path_);
}

std::vector<MetricRow> read_metrics(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  std::vector<MetricRow> rows;
  for_each_line(file->text(),
                [&](std::string_view line, size_t number) { rows.push_back(parse_line(line, path, number)); });
  return rows;
}

void cut_metrics(const std::filesystem::path& path, int64_t step, int64_t evaluated_step) {
  if (!std::filesystem::exists(path)) return;
  std::string text = read_text(path), kept;
  for_each_line(text, [&](std::string_view line, size_t number) {
    MetricRow row = parse_line(line, path, number);
    bool evaluation = !row.empty() && row[0] == std::pair<std::string, MetricValue>("kind", "eval");
    // Rows without a step stay.
    if (metric(row, "step") > static_cast<double>(evaluation ? evaluated_step : step)) return;
    kept += line;
    kept += '\n';
  });
  if (kept != text) write_file(path, kept);
}

double metric(const MetricRow& row, const std::string& name) {
  for (const auto& [key, value] : row) {
    if (key != name) continue;
    if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
    if (const auto* number = std::get_if<double>(&value)) return *number;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace gavel
