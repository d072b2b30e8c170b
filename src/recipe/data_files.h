#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rows/choices.h"

namespace gavel {

/** A file of rows, or a pattern of such (*, ?, […]). */
struct DataFile {
  std::string path;
  /** A factor on the weight of each of its rows. */
  double weight = 1;
  /** At most so many of its rows are taken, drawn by the run's seed. */
  std::optional<int64_t> rows;
  /** In place of data.format and data.cells. */
  std::optional<Format> format;
  std::optional<Cells> cells;

  bool operator==(const DataFile&) const = default;
};

/** Files whose rows are taken as one file's. */
struct DataFiles {
  DataFiles() = default;
  DataFiles(std::string path) { files.push_back({.path = std::move(path)}); }
  DataFiles(const char* path) : DataFiles(std::string(path)) {}

  std::vector<DataFile> files;

  /** For people: the path, or "a.csv and 2 others". */
  std::string text() const;
  bool operator==(const DataFiles&) const = default;
};

}  // namespace gavel
