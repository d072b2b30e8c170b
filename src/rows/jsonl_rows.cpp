#include <fmt/ranges.h>
#include <simdjson.h>

#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "rows/json_row.h"
#include "rows/row_source.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

class JsonlRows final : public RowSource {
 public:
  JsonlRows(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : file_(std::move(file)), options_(options) {
    text_ = file_->text();
    if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
    const std::vector<std::string> keys = first_keys();
    names_ = detail::column_names(options_, keys);
    find_labels(keys);
    parser_.emplace(path(), options_, names_, has_labels_);
  }

  bool next_rows(size_t bytes, std::vector<RawRow>& rows) override {
    size_t stop = position_ + bytes;
    bool any = false;
    RawRow raw;
    while (position_ < stop && next_line(raw.line)) {
      any = true;
      raw.row = ++row_;
      rows.push_back(raw);
    }
    return any;
  }

  void parse(const RawRow& raw, ParsedRow& out) const override { parser_->parse(raw, out); }

  bool has_labels() const override { return has_labels_; }

  size_t offset() const override { return position_; }

  void release() override {
    file_->release(released_, position_ - released_);
    released_ = position_;
  }

 private:
  std::string path() const { return file_->path().string(); }

  bool next_line(std::string_view& line) {
    while (position_ < text_.size()) {
      size_t end = std::min(text_.find('\n', position_), text_.size());
      line = text_.substr(position_, end - position_);
      position_ = std::min(end + 1, text_.size());
      if (line.find_first_not_of(" \t\r") != std::string_view::npos) return true;
    }
    return false;
  }

  std::vector<std::string> first_keys() {
    size_t start = position_;
    RawRow first;
    if (!next_line(first.line)) fail("{}: the file is empty: expected a JSON object on each line", path());
    position_ = start;
    std::string line;
    append_lossy(line, first.line);
    std::string repaired;
    if (replace_lone_surrogates(line, repaired) > 0) line = repaired;
    dom::parser parser;
    dom::object object;
    if (parser.parse(line).get(object) != simdjson::SUCCESS)
      fail("{}: row 1: expected a JSON object on each line, found {}", path(), json_excerpt(line));
    std::vector<std::string> keys;
    for (auto field : object) keys.emplace_back(field.key);
    return keys;
  }

  /** Labels are there when the first line has their keys. */
  void find_labels(const std::vector<std::string>& keys) {
    int wanted = 0, found = 0;
    std::string absent;
    for (size_t c = 0; c < kNumColumns; ++c) {
      if (!is_label(c) || names_[c].empty()) continue;
      ++wanted;
      if (std::find(keys.begin(), keys.end(), names_[c]) != keys.end())
        ++found;
      else if (absent.empty())
        absent = names_[c];
    }
    has_labels_ = options_.format == Format::kChosen || (wanted > 0 && found == wanted);
    if (found < wanted && (found > 0 || options_.purpose == Purpose::kTrain))
      fail(
          "{}: row 1: expected a key '{}', found {}{}: check data.format, or name the columns with "
          "data.columns",
          path(), absent, fmt::join(keys, ", "), did_you_mean(absent, keys));
  }

  std::shared_ptr<const MappedFile> file_;
  ReadOptions options_;
  detail::ColumnNames names_;
  std::string_view text_;
  size_t position_ = 0, released_ = 0;
  int64_t row_ = 0;
  bool has_labels_ = false;
  std::optional<JsonRowParser> parser_;
};

}  // namespace

std::unique_ptr<RowSource> open_jsonl_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options) {
  return std::make_unique<JsonlRows>(std::move(file), options);
}

}  // namespace gavel
