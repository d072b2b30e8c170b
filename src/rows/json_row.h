#pragma once
#include <array>
#include <string>
#include <string_view>

#include "rows/row_source.h"

namespace gavel {

/** Turns the text of a JSON object into a row: JSONL's lines, and Parquet's rows. */
class JsonRowParser {
 public:
  /** `path` names the file in messages. */
  JsonRowParser(std::string path, const ReadOptions& options, bool has_labels);
  /** Of RawRow::line. May be called from several threads at once. */
  void parse(const RawRow& raw, ParsedRow& out) const;

 private:
  std::string path_;
  ReadOptions options_;
  std::array<std::string, kNumColumns> names_;
  bool has_labels_;
};

/** The start of a line, quoted, for messages. */
std::string json_excerpt(std::string_view line);

}  // namespace gavel
