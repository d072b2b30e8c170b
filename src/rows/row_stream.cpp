#include "rows/row_stream.h"

#include <string>

#include "base/error.h"
#include "base/parallel.h"
#include "rows/row_source.h"

namespace gavel {

namespace {

// Bytes of the file in flight at once: large enough to keep all cores busy, small against any memory.
constexpr size_t kBlockBytes = size_t{16} << 20;

/** Whether an oddity changes or drops a row: an error with `strict`. */
bool is_repair(Oddity oddity) {
  switch (oddity) {
    case Oddity::kBothNull:
    case Oddity::kNullTurn:
    case Oddity::kLoneSurrogate:
    case Oddity::kInvalidUtf8:
    case Oddity::kNotJson:
    case Oddity::kBadLabel:
    case Oddity::kLabelSum:
      return true;
    default:
      return false;
  }
}

}  // namespace

struct RowStream::State {
  std::filesystem::path path;
  ReadOptions options;
  std::unique_ptr<RowSource> source;
  CleaningReport report;
  std::shared_ptr<RepeatFinder> repeats;
  std::vector<RawRow> raw;
  std::vector<ParsedRow> parsed;

  /** True when the row stays. */
  bool clean(ParsedRow& row) {
    if (!row.broken.empty()) throw Error(row.broken);
    ++report.rows_read;
    auto& occurrences = row.occurrences;
    if (options.ties == Ties::kHalfEach)
      for (auto* shares : {&row.row.label, &row.row.teacher}) {
        auto& [a, b, tie] = *shares;
        a += tie / 2;
        b += tie / 2;
        tie = 0;
      }
    // Without a vote the teacher alone is learnt from.
    if (row.no_vote && row.row.has_teacher()) {
      occurrences[static_cast<size_t>(Oddity::kBadLabel)] = 0;
      row.unknown_label.clear();
    }
    // Without label columns there is nothing to compare but texts, and no label to be wrong.
    if (options.find_repeats || options.drop_duplicates) {
      auto repeat = repeats->add(
          row.pair, options.format == Format::kScored ? std::array<float, 3>{row.row.score, 0, 0} : row.row.label);
      occurrences[static_cast<size_t>(Oddity::kDuplicate)] = repeat.duplicate;
      occurrences[static_cast<size_t>(Oddity::kContradictory)] = repeat.contradictory;
    }
    bool keep = true;
    for (size_t i = 0; i < kNumOddities; ++i) {
      if (occurrences[i] == 0) continue;
      Oddity oddity = static_cast<Oddity>(i);
      if (options.strict && is_repair(oddity))
        fail("{}: row {} (id {}): {}{}: mend the row, or read without data.strict", path.string(), row.row.source_row,
             row.row.id, oddity_name(oddity), oddity == Oddity::kNotJson ? ": " + row.not_json : "");
      // A row is dropped for one reason, the first.
      bool drops = keep && drops_row(oddity);
      report.count(oddity, row.row.source_row, occurrences[i], drops);
      if (drops) keep = false;
    }
    report.rows_kept += keep;
    if (!row.unknown_label.empty()) report.count_unknown_label(row.unknown_label);
    if (!row.not_json.empty()) report.add_unreadable(row.row.source_row, row.not_json);
    return keep;
  }

  /** At the file's end. */
  void check_report() const {
    const std::string name = path.string();
    if (report.rows_read == 0) fail("{}: no rows: the file has a header and nothing else", name);
    if (options.purpose == Purpose::kPredict) return;
    const int64_t unusable = report.unusable_rows(), damaged = report[Oddity::kInvalidUtf8].rows;
    if (report.rows_kept == 0) fail("{}: no row is left after cleaning:\n{}{}", name, report.format(), advice());
    const double most = options.max_dropped * static_cast<double>(report.rows_read);
    auto percent = [&](int64_t rows) {
      return 100 * static_cast<double>(rows) / static_cast<double>(report.rows_read);
    };
    if (static_cast<double>(unusable) > most)
      fail(
          "{}: {} of {} rows ({:.3g} %) can't be learnt from and would be dropped, more than data.max_dropped={} "
          "allows:\n{}{}",
          name, unusable, report.rows_read, percent(unusable), options.max_dropped, report.format(), advice());
    if (static_cast<double>(damaged) > most)
      fail(
          "{}: {} of {} rows ({:.3g} %) have bytes that are no UTF-8, more than data.max_dropped={} allows: if the "
          "file is "
          "Latin-1, convert it (iconv -f LATIN1 -t UTF-8 {} > NEW)",
          name, damaged, report.rows_read, percent(damaged), options.max_dropped, name);
  }

  /** What to do about the oddities that rows are dropped for. */
  std::string advice() const {
    std::string out;
    const bool cells = options.format == Format::kLmsys || options.format == Format::kGeneric;
    if (report[Oddity::kNotJson].dropped > 0 && cells) out += "  if cells are plain text, set data.cells: text\n";
    if (report[Oddity::kBadLabel].dropped > 0)
      out += "  a winner of the file's own spelling can be named (data.spellings.a, .b and .tie)\n";
    return out + "  to go on without these rows, set data.max_dropped";
  }

  bool drops_row(Oddity oddity) const {
    if (options.purpose == Purpose::kPredict) return false;
    return oddity == Oddity::kBothNull || oddity == Oddity::kNotJson || oddity == Oddity::kBadLabel ||
           oddity == Oddity::kZeroWeight || (oddity == Oddity::kDuplicate && options.drop_duplicates);
  }
};

RowStream::RowStream(const std::filesystem::path& path, const ReadOptions& options,
                     std::shared_ptr<RepeatFinder> repeats)
    : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->options = options;
  state_->repeats = repeats ? std::move(repeats) : std::make_shared<RepeatFinder>();
  // These files hold plain text; read as JSON no row would be left.
  if (options.format != Format::kLmsys && options.format != Format::kGeneric) state_->options.cells = Cells::kText;
  state_->source = open_rows(path, state_->options);
}

RowStream::~RowStream() = default;

bool RowStream::next_block(std::vector<PreferenceRow>& rows) {
  State& s = *state_;
  rows.clear();
  s.source->release();
  s.raw.clear();
  if (!s.source->next_rows(kBlockBytes, s.raw)) {
    s.check_report();
    return false;
  }
  s.parsed.assign(s.raw.size(), ParsedRow());
  parallel_for(s.raw.size(), 64, 0, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      s.source->parse(s.raw[i], s.parsed[i]);
      s.parsed[i].pair = fingerprint(s.parsed[i].row);
      for (ParsedRow& row : s.parsed[i].more) row.pair = fingerprint(row.row);
    }
  });
  for (auto& row : s.parsed) {
    if (s.clean(row)) rows.push_back(std::move(row.row));
    for (auto& pair : row.more)
      if (s.clean(pair)) rows.push_back(std::move(pair.row));
  }
  return true;
}

bool RowStream::has_labels() const {
  return state_->source->has_labels();
}

int64_t RowStream::bytes_read() const {
  return static_cast<int64_t>(state_->source->offset());
}

int64_t RowStream::bytes() const {
  return static_cast<int64_t>(state_->source->size());
}

const CleaningReport& RowStream::report() const {
  return state_->report;
}

int64_t count_rows(const std::filesystem::path& path, const ReadOptions& options) {
  ReadOptions counted = options;
  counted.find_repeats = false;  // they are counted for reports alone
  RowStream stream(path, counted);
  std::vector<PreferenceRow> block;
  int64_t rows = 0;
  while (stream.next_block(block)) rows += static_cast<int64_t>(block.size());
  return rows;
}

PreferenceData read_preferences(const std::filesystem::path& path, const ReadOptions& options) {
  RowStream stream(path, options);
  PreferenceData data;
  std::vector<PreferenceRow> block;
  while (stream.next_block(block))
    data.rows.insert(data.rows.end(), std::make_move_iterator(block.begin()), std::make_move_iterator(block.end()));
  data.report = stream.report();
  data.has_labels = stream.has_labels();
  return data;
}

}  // namespace gavel
