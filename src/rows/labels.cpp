#include "rows/labels.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/trimmed.h"
#include "base/utf8.h"

namespace gavel::detail {

namespace {

// Without letters' case, blanks, _, - and brackets. Numbers are not among them: 0 is the first answer in one file and a tie
// in the next.
constexpr std::string_view kFirst[] = {"a",       "modela",     "model1",     "responsea",    "response1", "answera",
                                       "answer1", "assistanta", "assistant1", "winnermodela", "first",     "left"};
constexpr std::string_view kSecond[] = {"b",       "modelb",     "model2",     "responseb",    "response2", "answerb",
                                        "answer2", "assistantb", "assistant2", "winnermodelb", "second",    "right"};
constexpr std::string_view kTie[] = {"tie",      "tied",    "draw",       "equal",       "same",      "both",
                                     "bothgood", "bothbad", "tiebothbad", "tiebothgood", "winnertie", "nopreference"};

constexpr size_t kMostLetters = 40;  // of a label in messages

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/** As the tables above have it. */
std::string plain_spelling(std::string_view text) {
  std::string out;
  for (char c : trimmed(text))
    if (std::string_view(" _-()[]").find(c) == std::string_view::npos) out.push_back(lower(c));
  return out;
}

/** Of a spelling that a recipe gives: case does not count, and 1.0, which pandas makes of a 1 beside a gap, is 1. */
std::string given_spelling(std::string_view text) {
  text = trimmed(text);
  const double number = parse_probability(text);
  if (!text.empty() && std::isfinite(number) && std::abs(number) < 1e15 && number == std::floor(number) &&
      text.find_first_not_of("+-.0123456789eE") == std::string_view::npos)
    return std::to_string(static_cast<int64_t>(number));
  std::string out;
  for (char c : text) out.push_back(lower(c));
  return out;
}

void count_bad_label(std::string_view spelled, ParsedRow& out) {
  ++out.occurrences[static_cast<size_t>(Oddity::kBadLabel)];
  out.unknown_label = shown_label(spelled);
  out.no_vote = spelled.find_first_not_of(" ,\t\r\n") == std::string_view::npos;
}

/** The margin of a pair whose scores differ so much; finite, whatever a file says. */
float margin_of(double difference, const ReadOptions& options) {
  return static_cast<float>(std::min(options.score_margin * difference, double{std::numeric_limits<float>::max()}));
}

/** A number that a cell must hold; without one ParsedRow::broken is set. */
std::optional<float> number_of(const std::string& path, const std::string& column, std::string_view what,
                               std::string_view text, double least, double most, ParsedRow& out) {
  const double number = parse_probability(text);
  const auto found = static_cast<float>(number);
  // Negated, so that NaN is refused too.
  if (number >= least && number <= most && std::isfinite(found)) return found;
  std::string shown;
  append_lossy(shown, text.substr(0, 40));
  const bool bounded = std::isfinite(most);
  out.broken =
      fmt::format("{}: row {}: '{}' is {}: expected a number{}, found '{}'", path, out.row.source_row, column, what,
                  bounded                ? fmt::format(" from {} to {}", least, most)
                  : std::isfinite(least) ? fmt::format(" of {} or more", least)
                                         : "",
                  shown);
  return std::nullopt;
}

/** A teacher's shares, divided by their sum; none where all cells are empty. */
void take_teacher(const std::string& path, const ColumnNames& names, const std::function<std::string(Column)>& cell,
                  ParsedRow& out) {
  constexpr std::array<Column, 3> kColumns = {Column::kTeacherA, Column::kTeacherB, Column::kTeacherTie};
  auto name_of = [&](size_t i) -> const std::string& { return names[static_cast<size_t>(kColumns[i])]; };
  if (name_of(0).empty()) return;
  std::array<std::string, 3> cells;
  for (size_t i = 0; i < 3; ++i)
    if (!name_of(i).empty()) cells[i] = cell(kColumns[i]);
  if (std::ranges::all_of(cells, [](const std::string& text) { return trimmed(text).empty(); })) return;
  std::array<double, 3> shares{};
  for (size_t i = 0; i < 3; ++i) {
    if (name_of(i).empty()) continue;  // a teacher that knows no ties
    const auto share = number_of(path, name_of(i), "a teacher's share (all its cells are empty in a row without one)",
                                 cells[i], 0, std::numeric_limits<double>::infinity(), out);
    if (!share) return;
    shares[i] = *share;
  }
  const double sum = shares[0] + shares[1] + shares[2];
  if (sum > 0) {
    for (size_t i = 0; i < 3; ++i) out.row.teacher[i] = static_cast<float>(shares[i] / sum);
    return;
  }
  out.broken = fmt::format(
      "{}: row {}: the teacher's shares are all 0 ('{}', …): expected one above 0; leave all its cells empty in a row "
      "without a teacher",
      path, out.row.source_row, name_of(0));
}

}  // namespace

double parse_probability(std::string_view text) {
  text = trimmed(text);
  if (text == "true" || text == "True" || text == "TRUE") return 1;
  if (text == "false" || text == "False" || text == "FALSE") return 0;
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::numeric_limits<double>::quiet_NaN();
  return value;
}

void set_label(const std::array<double, 3>& label, std::string_view spelled, ParsedRow& out) {
  const auto [a, b, tie] = label;
  double sum = a + b + tie;
  // Negated comparisons, so that NaN counts as bad.
  if (!(a >= 0 && b >= 0 && tie >= 0) || !(sum > 0) || !std::isfinite(sum)) return count_bad_label(spelled, out);
  // Shares written with three digits are no oddity.
  if (std::abs(sum - 1) > 2e-3) ++out.occurrences[static_cast<size_t>(Oddity::kLabelSum)];
  out.row.label = {static_cast<float>(a / sum), static_cast<float>(b / sum), static_cast<float>(tie / sum)};
  out.row.has_label = true;
}

void set_numbers(const std::string& path, const ColumnNames& names, const ReadOptions& options,
                 const std::function<std::string(Column)>& cell, ParsedRow& out) {
  constexpr double kAny = std::numeric_limits<double>::infinity();
  auto name_of = [&](Column column) -> const std::string& { return names[static_cast<size_t>(column)]; };
  auto take = [&](Column column, std::string_view what, double least, double most) {
    return number_of(path, name_of(column), what, cell(column), least, most, out);
  };
  if (!name_of(Column::kWeight).empty())
    if (auto weight = take(Column::kWeight, "the row's weight (data.columns.weight)", 0, kAny)) {
      out.row.weight = *weight;
      if (*weight == 0) ++out.occurrences[static_cast<size_t>(Oddity::kZeroWeight)];
    }
  if (!name_of(Column::kMargin).empty())
    if (auto margin = take(Column::kMargin, "the pair's margin (data.columns.margin)", 0, kAny))
      out.row.margin = *margin;
  if (!name_of(Column::kScoreA).empty()) {
    auto chosen = take(Column::kScoreA, "a score (reward.score_margin)", -kAny, kAny);
    auto rejected =
        chosen ? take(Column::kScoreB, "a score (reward.score_margin)", -kAny, kAny) : std::optional<float>();
    // An answer that was chosen against its score has no margin.
    if (chosen && rejected) out.row.margin = margin_of(std::max(0.0, double{*chosen} - double{*rejected}), options);
  }
  take_teacher(path, names, cell, out);
  if (!name_of(Column::kAuxiliaryA).empty())
    for (size_t i = 0; i < 2; ++i) {
      const std::string text = cell(i == 0 ? Column::kAuxiliaryA : Column::kAuxiliaryB);
      append_lossy(out.row.auxiliary[i], trimmed(text));
    }
  if (options.format == Format::kScored) {
    const std::string text = cell(Column::kWinner);
    if (!std::isfinite(parse_probability(text)))
      count_bad_label(text, out);
    else if (auto score = number_of(path, name_of(Column::kWinner), "the answer's score", text,
                                    options.unit_scores ? 0 : -kAny, options.unit_scores ? 1 : kAny, out))
      out.row.score = *score;
  }
}

void set_label_of_scores(double a, double b, const ReadOptions& options, ParsedRow& out) {
  if (!std::isfinite(a) || !std::isfinite(b)) return count_bad_label(fmt::format("scores {} and {}", a, b), out);
  set_label({a > b ? 1.0 : 0, a < b ? 1.0 : 0, a == b ? 1.0 : 0}, "", out);
  if (options.purpose == Purpose::kTrain && options.score_margin > 0)
    out.row.margin = margin_of(std::abs(a - b), options);
}

std::array<double, 3> winner_label(std::string_view winner, const Spellings& more) {
  auto among = [](const auto& names, const std::string& name, auto&& spelling) {
    return std::any_of(std::begin(names), std::end(names), [&](const auto& known) { return spelling(known) == name; });
  };
  const std::string given = given_spelling(winner);
  if (among(more.a, given, given_spelling)) return {1, 0, 0};
  if (among(more.b, given, given_spelling)) return {0, 1, 0};
  if (among(more.tie, given, given_spelling)) return {0, 0, 1};
  const std::string plain = plain_spelling(winner);
  auto as_it_is = [](std::string_view known) { return known; };
  if (among(kFirst, plain, as_it_is)) return {1, 0, 0};
  if (among(kSecond, plain, as_it_is)) return {0, 1, 0};
  if (among(kTie, plain, as_it_is)) return {0, 0, 1};
  return {-1, -1, -1};
}

std::string shown_label(std::string_view spelled) {
  spelled = trimmed(spelled);
  // Three shares that are all missing are joined by commas.
  if (spelled.find_first_not_of(", ") == std::string_view::npos) return "(empty)";
  std::string out;
  append_lossy(out, spelled.substr(0, kMostLetters));
  return spelled.size() > kMostLetters ? out + "…" : out;
}

}  // namespace gavel::detail
