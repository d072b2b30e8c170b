#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "rows/json_row.h"
#include "rows/layouts.h"
#include "rows/row_source.h"

namespace gavel {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";

/** The objects of a file, unparsed: its lines, or the items of the one array that it is. */
class JsonItems {
 public:
  JsonItems(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : file_(std::move(file)), options_(options), text_(file_->text()) {
    if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
    const size_t first = text_.find_first_not_of(kBlanks, position_);
    if (first != std::string_view::npos && text_[first] == '[') {
      in_array_ = true;
      position_ = first + 1;
    }
  }

  std::string path() const { return file_->path().string(); }
  size_t position() const { return position_; }
  size_t size() const { return text_.size(); }
  /** Number of the object last given, 1 for the first. */
  int64_t row() const { return row_; }

  /** The text of the next object. */
  bool next(std::string_view& line) {
    if (!(in_array_ ? next_item(line) : next_line(line))) return false;
    detail::check_size(path(), ++row_, "", line.size(), options_);
    return true;
  }

  /** The keys of the first object, which next() gives again. */
  std::vector<std::string> first_keys() const {
    JsonItems ahead = *this;
    std::string_view first;
    if (!ahead.next(first)) fail("{}: the file is empty: expected a JSON object on each line", path());
    std::optional<std::vector<std::string>> keys = json_keys(first);
    if (!keys) {
      const std::string_view line = first.substr(0, first.find_last_not_of(kBlanks) + 1);
      const bool goes_on = !in_array_ && line.starts_with('{') && !line.ends_with('}');
      fail("{}: row 1: expected a JSON object on each line, found {}{}", path(), json_excerpt(first),
           goes_on ? ": write objects that go over several lines on one each (jq -c . FILE > NEW)" : "");
    }
    return std::move(*keys);
  }

  void release() {
    file_->release(released_, position_ - released_);
    released_ = position_;
  }

 private:
  bool next_line(std::string_view& line) {
    while (position_ < text_.size()) {
      size_t end = std::min(text_.find('\n', position_), text_.size());
      line = text_.substr(position_, end - position_);
      position_ = std::min(end + 1, text_.size());
      // Record separators (RFC 7464) stand before objects.
      if (line.starts_with('\x1E')) line.remove_prefix(1);
      if (line.find_first_not_of(kBlanks) != std::string_view::npos) return true;
    }
    return false;
  }

  /** The next object of an array that is the whole file. */
  bool next_item(std::string_view& line) {
    if (closed_) return false;
    skip_blanks();
    if (row_ == 0 && take(']')) return close();
    if (row_ > 0) {
      if (take(']')) return close();
      if (!take(',')) refuse_array("a comma or ]");
      skip_blanks();
    }
    if (position_ >= text_.size() || text_[position_] != '{') refuse_array("an object");
    const size_t start = position_;
    bool in_string = false;
    for (int depth = 0; position_ < text_.size(); ++position_) {
      const char c = text_[position_];
      if (in_string) {
        if (c == '\\') ++position_;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{') {
        ++depth;
      } else if (c == '}' && --depth == 0) {
        line = text_.substr(start, ++position_ - start);
        return true;
      }
    }
    position_ = text_.size();
    refuse_array("the object's end");
  }

  bool close() {
    closed_ = true;
    skip_blanks();
    if (position_ < text_.size()) refuse_array("the file's end after the array");
    return false;
  }
  void skip_blanks() { position_ = std::min(text_.find_first_not_of(kBlanks, position_), text_.size()); }
  bool take(char c) {
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  [[noreturn]] void refuse_array(std::string_view expected) const {
    fail("{}: row {} of the JSON array: expected {}, found {}", path(), row_ + 1, expected,
         position_ >= text_.size() ? "the file's end" : json_excerpt(text_.substr(position_, 100)));
  }

  std::shared_ptr<const MappedFile> file_;
  ReadOptions options_;
  std::string_view text_;
  size_t position_ = 0, released_ = 0;
  bool in_array_ = false, closed_ = false;  // the file is one array of objects, and its end was seen
  int64_t row_ = 0;
};

class JsonlRows final : public RowSource {
 public:
  JsonlRows(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : options_(options), items_(std::move(file), options) {
    const std::vector<std::string> keys = items_.first_keys();
    names_ = detail::column_names(options_, keys);
    find_labels(keys);
    parser_.emplace(items_.path(), options_, names_, has_labels_);
  }

  bool next_rows(size_t bytes, std::vector<RawRow>& rows) override {
    size_t stop = items_.position() + bytes;
    bool any = false;
    RawRow raw;
    while (items_.position() < stop && items_.next(raw.line)) {
      any = true;
      raw.row = items_.row();
      rows.push_back(raw);
    }
    return any;
  }

  void parse(const RawRow& raw, ParsedRow& out) const override { parser_->parse(raw, out); }

  bool has_labels() const override { return has_labels_; }

  size_t offset() const override { return items_.position(); }
  size_t size() const override { return items_.size(); }
  void release() override { items_.release(); }

 private:
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
      fail("{}: row 1: expected a key '{}', found {}{}: {}", items_.path(), absent, detail::list_names(keys),
           did_you_mean(absent, keys), detail::format_hint(keys));
  }

  ReadOptions options_;
  JsonItems items_;
  detail::ColumnNames names_;
  bool has_labels_ = false;
  std::optional<JsonRowParser> parser_;
};

}  // namespace

std::unique_ptr<RowSource> open_jsonl_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options) {
  return std::make_unique<JsonlRows>(std::move(file), options);
}

std::vector<std::string> jsonl_columns(std::shared_ptr<const MappedFile> file) {
  return JsonItems(std::move(file), ReadOptions()).first_keys();
}

}  // namespace gavel
