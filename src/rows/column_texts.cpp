#include "rows/column_texts.h"

#include "rows/row_stream.h"

namespace gavel {

std::optional<std::vector<std::string>> column_texts(const std::filesystem::path& path, const std::string& column,
                                                     const ReadOptions& options) {
  // The reader of rows is asked for rows whose texts are all of this one column.
  ReadOptions read;
  read.format = Format::kGeneric;
  read.cells = Cells::kText;
  read.purpose = Purpose::kPredict;
  read.find_repeats = false;
  const Columns own = options.format == Format::kGeneric ? options.columns : standard_columns(options.format);
  read.columns.prompt = read.columns.response_a = read.columns.response_b = own.response_b;
  read.columns.winner = column;
  if (!RowStream(path, read).has_labels()) return std::nullopt;
  read.columns.prompt = read.columns.response_a = read.columns.response_b = column;
  read.columns.winner.clear();
  RowStream stream(path, read);
  std::vector<std::string> texts;
  std::vector<PreferenceRow> block;
  while (stream.next_block(block))
    for (PreferenceRow& row : block) {
      if (static_cast<size_t>(row.source_row) > texts.size()) texts.resize(static_cast<size_t>(row.source_row));
      texts[static_cast<size_t>(row.source_row) - 1] = row.prompt.empty() ? "" : std::move(row.prompt.front());
    }
  return texts;
}

}  // namespace gavel
