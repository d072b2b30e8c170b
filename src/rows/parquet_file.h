#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace gavel {

/** A Parquet file as rows of JSON. src/parquet implements it in a shared library of its own, loaded when such a file is
 * opened, so that the program runs without Apache Arrow. Functions throw std::runtime_error, whose text does not name
 * the file. */
class ParquetFile {
 public:
  virtual ~ParquetFile() = default;
  /** Names of the top-level columns. */
  virtual std::vector<std::string> columns() const = 0;
  /** Sets the columns that rows will have. To be called once, before next_rows(). */
  virtual void select(const std::vector<std::string>& columns) = 0;
  /** Appends whole rows, each a JSON object and a newline, until `lines` has `bytes`; false when there was
   * none. */
  virtual bool next_rows(size_t bytes, std::string& lines) = 0;
};

/** The one function that the shared library exports, under the name "gavel_open_parquet". Reading that would need more than
 * `memory` bytes at once (beyond the rows it gives) is an error. */
using OpenParquetFile = ParquetFile* (*)(const char* path, size_t memory);

}  // namespace gavel
