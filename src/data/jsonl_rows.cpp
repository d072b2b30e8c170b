#include <fmt/ranges.h>
#include <simdjson.h>

#include <limits>

#include "base/error.h"
#include "base/utf8.h"
#include "data/row_source.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

class JsonlRows final : public RowSource {
 public:
  JsonlRows(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : file_(std::move(file)), options_(options), names_(detail::column_names(options)) {
    text_ = file_->text();
    if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
    find_labels();
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

  void parse(const RawRow& raw, ParsedRow& out) const override {
    auto count = [&](Oddity oddity, int64_t n) { out.occurrences[static_cast<size_t>(oddity)] += n; };
    thread_local dom::parser parser;
    std::string valid, repaired;
    std::string_view line = raw.line;
    if (!is_valid_utf8(line)) {
      count(Oddity::kInvalidUtf8, append_lossy(valid, line));
      line = valid;
    }
    if (int64_t replaced = replace_lone_surrogates(line, repaired); replaced > 0) {
      count(Oddity::kLoneSurrogate, replaced);
      line = repaired;
    }
    out.row.source_row = raw.row;
    dom::element root;
    dom::object object;
    if (auto error = parser.parse(line.data(), line.size()).get(root)) {
      out.broken = fmt::format("{}: row {}: expected a JSON object on each line, found {}: {}", path(),
                               raw.row, excerpt(line), simdjson::error_message(error));
      return;
    }
    if (root.get(object) != simdjson::SUCCESS) {
      out.broken = fmt::format("{}: row {}: expected a JSON object on each line, found {}", path(), raw.row,
                               excerpt(line));
      return;
    }
    std::array<Turns, 3> turns;
    for (size_t i = 0; i < 3; ++i) {
      const std::string& column = names_[i + 1];
      dom::element value;
      if (object.at_key(column).get(value) != simdjson::SUCCESS) {
        std::vector<std::string> keys;
        for (auto field : object) keys.emplace_back(field.key);
        out.broken = fmt::format("{}: row {}: expected a key '{}', found {}{}", path(), raw.row, column,
                                 fmt::join(keys, ", "), did_you_mean(column, keys));
        return;
      }
      std::string why = take_turns(value, turns[i]);
      if (why.empty()) continue;
      count(Oddity::kNotJson, 1);
      if (out.not_json.empty()) out.not_json = fmt::format("key '{}': {}", column, why);
    }
    detail::finish_texts(turns[0], turns[1], turns[2], out);
    out.row.id = std::to_string(raw.row);
    if (dom::element id; !names_[0].empty() && object.at_key(names_[0]).get(id) == simdjson::SUCCESS) {
      std::string_view text;
      out.row.id = id.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(id);
    }
    if (has_labels_) take_label(object, out);
    out.row.prompt = std::move(turns[0].texts);
    out.row.response_a = std::move(turns[1].texts);
    out.row.response_b = std::move(turns[2].texts);
  }

  bool has_labels() const override { return has_labels_; }

  size_t offset() const override { return position_; }

  void release() override {
    file_->release(released_, position_ - released_);
    released_ = position_;
  }

 private:
  std::string path() const { return file_->path().string(); }

  static std::string excerpt(std::string_view line) {
    std::string out;
    append_lossy(out, line.substr(0, 40));
    return fmt::format("'{}{}'", out, line.size() > 40 ? "…" : "");
  }

  bool next_line(std::string_view& line) {
    while (position_ < text_.size()) {
      size_t end = std::min(text_.find('\n', position_), text_.size());
      line = text_.substr(position_, end - position_);
      position_ = std::min(end + 1, text_.size());
      if (line.find_first_not_of(" \t\r") != std::string_view::npos) return true;
    }
    return false;
  }

  /** Labels are there when the first line has their keys. */
  void find_labels() {
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
      fail("{}: row 1: expected a JSON object on each line, found {}", path(), excerpt(line));
    std::vector<std::string> keys;
    for (auto field : object) keys.emplace_back(field.key);
    int wanted = 0, found = 0;
    std::string absent;
    for (size_t c = static_cast<size_t>(Column::kLabelA); c < kNumColumns; ++c) {
      if (names_[c].empty()) continue;
      ++wanted;
      if (std::find(keys.begin(), keys.end(), names_[c]) != keys.end())
        ++found;
      else if (absent.empty())
        absent = names_[c];
    }
    has_labels_ = wanted > 0 && found == wanted;
    if (found < wanted && (found > 0 || options_.purpose == Purpose::kTrain))
      fail(
          "{}: row 1: expected a key '{}', found {}{}: check data.format, or name the columns with "
          "data.columns",
          path(), absent, fmt::join(keys, ", "), did_you_mean(absent, keys));
  }

  /** A list of strings and nulls, or a string (with cells: json it may hold a JSON list itself). */
  std::string take_turns(dom::element value, Turns& out) const {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS) {
      if (options_.cells != Cells::kJson) return parse_cell(text, options_.cells, out);
      if (!text.starts_with('[') || !parse_cell(text, Cells::kJson, out).empty())
        parse_cell(text, Cells::kText, out);
      return "";
    }
    dom::array list;
    if (value.is_null()) {
      out.texts.emplace_back();
      ++out.null_turns;
    } else if (value.get(list) == simdjson::SUCCESS) {
      for (dom::element item : list) {
        if (item.is_null()) {
          ++out.null_turns;
          out.texts.emplace_back();
        } else if (item.get(text) == simdjson::SUCCESS) {
          out.texts.emplace_back(text);
        } else {
          out = Turns();
          out.texts.push_back(simdjson::minify(value));
          return "expected a list of strings and nulls";
        }
      }
    } else {
      out.texts.push_back(simdjson::minify(value));
      return "expected a string or a list of strings";
    }
    out.all_null = out.null_turns > 0 && out.null_turns == static_cast<int64_t>(out.texts.size());
    return "";
  }

  void take_label(dom::object object, ParsedRow& out) const {
    std::array<double, 3> label{-1, -1, -1};
    const std::string& winner = names_[static_cast<size_t>(Column::kWinner)];
    if (!winner.empty()) {
      std::string_view text;
      if (object.at_key(winner).get(text) == simdjson::SUCCESS) detail::winner_label(text, label);
    } else {
      for (size_t i = 0; i < 3; ++i) {
        dom::element value;
        if (object.at_key(names_[static_cast<size_t>(Column::kLabelA) + i]).get(value) != simdjson::SUCCESS)
          continue;
        double number = 0;
        std::string_view text;
        bool flag = false;
        if (value.get(number) == simdjson::SUCCESS)
          label[i] = number;
        else if (value.get(flag) == simdjson::SUCCESS)
          label[i] = flag ? 1 : 0;
        else if (value.get(text) == simdjson::SUCCESS)
          label[i] = detail::parse_probability(text);
      }
    }
    detail::set_label(label[0], label[1], label[2], out);
  }

  std::shared_ptr<const MappedFile> file_;
  ReadOptions options_;
  std::array<std::string, kNumColumns> names_;
  std::string_view text_;
  size_t position_ = 0, released_ = 0;
  int64_t row_ = 0;
  bool has_labels_ = false;
};

}  // namespace

std::unique_ptr<RowSource> open_jsonl_rows(std::shared_ptr<const MappedFile> file,
                                           const ReadOptions& options) {
  return std::make_unique<JsonlRows>(std::move(file), options);
}

}  // namespace gavel
