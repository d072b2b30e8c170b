#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "rows/json_row.h"
#include "rows/labels.h"
#include "rows/messages.h"
#include "rows/row_source.h"

namespace gavel {

namespace {

class CsvRows final : public RowSource {
 public:
  CsvRows(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : file_(std::move(file)), options_(options), reader_(file_->text(), file_->path().string()) {
    if (options_.format == Format::kRanked)
      fail("{}: a row of this data.format holds lists of answers, which cells of CSV can't: give JSONL or Parquet",
           file_->path().string());
    names_ = detail::column_names(options_, reader_.header());
    index_ = detail::find_columns(file_->path().string(), names_, options_, reader_.header());
    as_json_.emplace(file_->path().string(), options_, names_, has_labels());
  }

  bool next_rows(size_t bytes, std::vector<RawRow>& rows) override {
    size_t stop = reader_.offset() + bytes;
    bool any = false;
    while (reader_.offset() < stop && reader_.next(fields_)) {
      any = true;
      RawRow& raw = rows.emplace_back();
      raw.row = reader_.row();
      for (size_t c = 0; c < kNumColumns; ++c) {
        if (index_[c] < 0) continue;
        raw.cells[c] = fields_[static_cast<size_t>(index_[c])];
        detail::check_size(file_->path().string(), raw.row, names_[c], raw.cells[c].raw.size(), options_);
      }
    }
    return any;
  }

  void parse(const RawRow& raw, ParsedRow& out) const override {
    if (holds_conversations(raw)) {
      const std::string line = json_of(raw);
      RawRow row;
      row.row = raw.row;
      row.line = line;
      return as_json_->parse(row, out);
    }
    std::string scratch;
    auto text = [&](Column column) { return raw.cells[static_cast<size_t>(column)].text(scratch); };
    out.row.source_row = raw.row;
    out.row.id = has(Column::kId) ? std::string(text(Column::kId)) : std::to_string(raw.row);
    std::array<Turns, 3> turns;
    for (size_t i = 0; i < 3; ++i) {
      if (!has(static_cast<Column>(i + 1))) {
        turns[i].texts.emplace_back();  // a prompt that is in the answers' own texts
        continue;
      }
      std::string why = parse_cell(text(static_cast<Column>(i + 1)), options_.cells, turns[i]);
      if (why.empty()) continue;
      ++out.occurrences[static_cast<size_t>(Oddity::kNotJson)];
      if (out.not_json.empty()) out.not_json = fmt::format("column '{}': {}", names_[i + 1], why);
    }
    if (options_.format == Format::kScored)
      detail::take_texts(std::move(turns[0]), std::move(turns[1]), out);
    else
      detail::take_texts(std::move(turns[0]), std::move(turns[1]), std::move(turns[2]), out);
    take_label(raw, out);
    detail::set_numbers(
        file_->path().string(), names_, options_,
        [&](Column column) { return has(column) ? std::string(text(column)) : std::string(); }, out);
  }

  bool has_labels() const override { return options_.format == Format::kChosen || detail::labels_found(index_); }

  size_t offset() const override { return reader_.offset(); }
  size_t size() const override { return file_->bytes().size(); }

  void release() override {
    file_->release(released_, reader_.offset() - released_);
    released_ = reader_.offset();
  }

 private:
  std::string text_of(const RawRow& raw, Column column) const {
    std::string scratch;
    return std::string(raw.cells[static_cast<size_t>(column)].text(scratch));
  }

  /** Whether cells may hold messages, so that the row is read as one of JSON is. */
  bool holds_conversations(const RawRow& raw) const {
    switch (options_.format) {
      case Format::kConversations:
      case Format::kHelpSteer3:
        return true;
      case Format::kChosen:
      case Format::kScored:
        break;
      default:
        return false;
    }
    for (Column column : {Column::kPrompt, Column::kResponseA}) {
      if (!has(column)) continue;
      const std::string text = text_of(raw, column);
      if (holds_messages(text) || begins_as_python_messages(text)) return true;
    }
    return false;
  }

  /** The row as an object of texts. */
  std::string json_of(const RawRow& raw) const {
    std::string out = "{";
    for (size_t c = 0; c < kNumColumns; ++c) {
      if (!has(static_cast<Column>(c))) continue;
      out += out.size() > 1 ? "," : "";
      append_json_text(names_[c], out);
      out += ':';
      append_json_text(text_of(raw, static_cast<Column>(c)), out);
    }
    return out + "}";
  }

  void take_label(const RawRow& raw, ParsedRow& out) const {
    std::string scratch;
    auto text = [&](Column column) { return raw.cells[static_cast<size_t>(column)].text(scratch); };
    if (options_.format == Format::kChosen) {
      detail::set_label({1, 0, 0}, "", out);
    } else if (options_.format == Format::kScored) {
      // A score, which is set with the other numbers.
    } else if (has(Column::kWinner)) {
      std::string_view winner = text(Column::kWinner);
      detail::set_label(detail::winner_label(winner, options_.spellings), winner, out);
    } else if (has(Column::kLabelA)) {
      std::array<double, 3> label{};
      std::string spelled;
      for (size_t i = 0; i < 3; ++i) {
        std::string_view share = text(static_cast<Column>(static_cast<size_t>(Column::kLabelA) + i));
        label[i] = detail::parse_probability(share);
        spelled += fmt::format("{}{}", i > 0 ? ", " : "", share);
      }
      detail::set_label(label, spelled, out);
    }
  }

  bool has(Column column) const { return index_[static_cast<size_t>(column)] >= 0; }

  std::shared_ptr<const MappedFile> file_;
  ReadOptions options_;
  CsvReader reader_;
  detail::ColumnNames names_;
  detail::ColumnIndex index_{};
  std::vector<CsvField> fields_;
  std::optional<JsonRowParser> as_json_;
  size_t released_ = 0;
};

}  // namespace

std::unique_ptr<RowSource> open_csv_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options) {
  return std::make_unique<CsvRows>(std::move(file), options);
}

std::vector<std::string> csv_columns(std::shared_ptr<const MappedFile> file) {
  return CsvReader(file->text(), file->path().string()).header();
}

}  // namespace gavel
