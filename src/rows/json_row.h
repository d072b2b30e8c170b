#pragma once
#include <simdjson.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rows/row_source.h"

namespace gavel {

/** Turns the text of a JSON object (a line of a JSONL file, or a Parquet row) into a row. */
class JsonRowParser {
 public:
  /** `path` names the file in messages; `has_labels`: the file has the label columns that `options` ask for. */
  JsonRowParser(std::string path, const ReadOptions& options, detail::ColumnNames names, bool has_labels);
  /** Parses RawRow::line; may be called from several threads at once. A line that is no JSON object sets
   * ParsedRow::broken. */
  void parse(const RawRow& raw, ParsedRow& out) const;

 private:
  void parse_object(simdjson::dom::object object, std::string_view line, ParsedRow& out) const;

  std::string path_;
  ReadOptions options_;
  detail::ColumnNames names_;
  bool has_labels_;
};

/** The keys of a JSON object; nothing when the text is none. */
std::optional<std::vector<std::string>> json_keys(std::string_view line);

/** The start of a line, quoted, for messages. */
std::string json_excerpt(std::string_view line);

}  // namespace gavel
