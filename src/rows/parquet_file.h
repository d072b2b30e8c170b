#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace gavel {

/** A Parquet file as rows of JSON. src/parquet implements it in a module of its own, loaded when such a file
 * is opened, so that the program needs no Apache Arrow. What goes wrong is a std::runtime_error without the
 * file's name. */
class ParquetFile {
 public:
  virtual ~ParquetFile() = default;
  /** Names of the top-level columns. */
  virtual std::vector<std::string> columns() const = 0;
  /** To be called once: the columns that rows will have. */
  virtual void select(const std::vector<std::string>& columns) = 0;
  /** Appends whole rows, each a JSON object and a newline, until `lines` has `bytes`; false when there was
   * none. */
  virtual bool next_rows(size_t bytes, std::string& lines) = 0;
};

/** The module's one symbol, "gavel_open_parquet". */
using OpenParquetFile = ParquetFile* (*)(const char* path);

}  // namespace gavel
