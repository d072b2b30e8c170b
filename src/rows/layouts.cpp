#include "rows/layouts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>

#include "base/error.h"
#include "rows/labels.h"
#include "rows/row_source.h"

namespace gavel {

namespace {

/** Columns that a format's files have; `votes` are those that a file to be judged lacks. */
struct KnownLayout {
  Format format;
  std::string_view name;
  std::vector<std::string_view> texts, votes;
};

const std::vector<KnownLayout>& known_layouts() {
  using enum Format;
  static const std::vector<KnownLayout> layouts = {
      {kLmsys, "lmsys", {"prompt", "response_a", "response_b"}, {"winner_model_a", "winner_model_b", "winner_tie"}},
      {kWsdm, "wsdm", {"prompt", "response_a", "response_b"}, {"winner"}},
      {kConversations, "conversations", {"conversation_a", "conversation_b"}, {"winner"}},
      {kHelpSteer3, "helpsteer3", {"context", "response1", "response2"}, {"overall_preference"}},
      {kRanked, "ranked", {"instruction"}, {"completions"}},
      {kRanked, "ranked", {"responses"}, {"scores"}},
      {kRanked, "ranked", {"responses"}, {"ranks"}},
      {kChosen, "chosen", {"chosen", "rejected"}, {}},
      {kScored, "scored", {"response"}, {"score"}},
  };
  return layouts;
}

class Header {
 public:
  explicit Header(const std::vector<std::string>& names) : names_(names) {}

  bool has_all(std::span<const std::string_view> wanted) const {
    return std::all_of(wanted.begin(), wanted.end(), [&](std::string_view name) { return !exactly(name).empty(); });
  }
  /** The column of this name, or "". */
  std::string exactly(std::string_view name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    return found == names_.end() ? "" : *found;
  }
  /** The first of the names, in small letters, that a column has in any case. */
  std::string any_case(std::span<const std::string_view> wanted) const {
    for (std::string_view name : wanted)
      for (const std::string& column : names_)
        if (std::equal(column.begin(), column.end(), name.begin(), name.end(),
                       [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; }))
          return column;
    return "";
  }

 private:
  const std::vector<std::string>& names_;
};

std::string columns_text(std::vector<std::string_view> names) {
  return fmt::format("its columns {}", fmt::join(names, ", "));
}

/** Names of prompts, pairs of answers and votes that people use, in any case. */
std::vector<Layout> generic_layout(const Header& header) {
  constexpr std::string_view kPrompts[] = {"prompt",      "question",     "instruction", "query",   "input",
                                           "user_prompt", "user_message", "problem",     "context", "conversation"};
  constexpr std::string_view kStems[] = {"response", "answer", "output", "completion", "generation",
                                         "reply",    "text",   "model",  "assistant",  "candidate"};
  constexpr std::pair<std::string_view, std::string_view> kEnds[] = {
      {"_a", "_b"}, {"_1", "_2"}, {"1", "2"}, {"_0", "_1"}, {"a", "b"}};
  constexpr std::string_view kWinners[] = {"winner", "preference",      "preferred", "vote",  "better",
                                           "choice", "better_response", "best",      "label", "verdict"};
  Layout layout{.format = Format::kGeneric, .name = "generic"};
  Columns& columns = layout.columns;
  columns.prompt = header.any_case(kPrompts);
  for (std::string_view stem : kStems)
    for (const auto& [first, second] : kEnds) {
      const std::string a = std::string(stem) + std::string(first), b = std::string(stem) + std::string(second);
      const std::string_view name_a = a, name_b = b;
      const std::string in_a = header.any_case({&name_a, 1}), in_b = header.any_case({&name_b, 1});
      if (!columns.response_a.empty() || in_a.empty() || in_b.empty()) continue;
      columns.response_a = in_a;
      columns.response_b = in_b;
    }
  if (columns.prompt.empty() || columns.response_a.empty()) return {};
  constexpr std::string_view kIds[] = {"id"};
  columns.id = header.any_case(kIds);
  constexpr std::string_view kShares[] = {"winner_model_a", "winner_model_b", "winner_tie"};
  if (header.has_all(kShares)) {
    columns.label_a = kShares[0];
    columns.label_b = kShares[1];
    columns.label_tie = kShares[2];
  } else {
    columns.winner = header.any_case(kWinners);
  }
  layout.votes = !columns.winner.empty() || !columns.label_a.empty();
  std::vector<std::string_view> names = {columns.prompt, columns.response_a, columns.response_b};
  if (layout.votes) names.push_back(columns.winner.empty() ? columns.label_a : columns.winner);
  layout.why = fmt::format("the names {}, since no format has these columns", fmt::join(names, ", "));
  return {layout};
}

/** data.columns.prompt=… and so on, of a generic layout. */
std::string settings_of(const Columns& c) {
  std::string out = "data.format=generic";
  for (const auto& [key, column] : {std::pair{"prompt", c.prompt},
                                    {"response_a", c.response_a},
                                    {"response_b", c.response_b},
                                    {"winner", c.winner}})
    if (!column.empty()) out += fmt::format(" data.columns.{}={}", key, column);
  return out;
}

/** What the first rows of a file say of its texts and votes. */
struct FirstRows {
  int64_t rows = 0;
  int64_t lists = 0;  // rows whose texts are all lists of turns in strings
  std::map<std::string, int64_t> unknown_votes;
};

FirstRows read_first_rows(const TableFile& table, const ReadOptions& options) {
  constexpr size_t kBytes = size_t{256} << 10, kMostRows = 200;
  const auto source = open_rows(table, options);
  std::vector<RawRow> raw;
  source->next_rows(kBytes, raw);
  FirstRows out;
  for (const RawRow& row : std::span(raw).first(std::min(raw.size(), kMostRows))) {
    ParsedRow parsed;
    source->parse(row, parsed);
    if (!parsed.broken.empty()) continue;  // is told of when the file is read
    ++out.rows;
    const PreferenceRow& found = parsed.row;
    out.lists +=
        std::ranges::all_of(std::array{&found.prompt, &found.response_a, &found.response_b}, [](const auto* turns) {
          Turns ignored;
          return turns->size() != 1 || parse_cell(turns->front(), Cells::kJson, ignored).empty();
        });
    if (!parsed.unknown_label.empty()) ++out.unknown_votes[parsed.unknown_label];
  }
  return out;
}

/** Settles by the first rows what columns leave open: how texts are written, and what votes are called. */
void look_at_rows(const TableFile& table, Layout& layout) {
  const bool generic = layout.format == Format::kGeneric, conversations = layout.format == Format::kConversations;
  if (layout.format != Format::kLmsys && layout.format != Format::kWsdm && !generic && !conversations) return;
  Columns columns = generic ? layout.columns : standard_columns(layout.format);
  if (!generic) columns.id.clear();
  if (!layout.votes) columns.winner = columns.label_a = columns.label_b = columns.label_tie = "";
  const FirstRows first = read_first_rows(table, {.format = conversations ? layout.format : Format::kGeneric,
                                                  .columns = columns,
                                                  .cells = Cells::kText,
                                                  .purpose = Purpose::kPredict});
  const bool lists = first.rows > 0 && 2 * first.lists > first.rows;
  if (layout.format == Format::kWsdm && lists && layout.votes) {
    layout.format = Format::kGeneric;
    layout.name = "generic";
    layout.columns = columns;
    layout.why += ", and its texts are lists of turns (data.format: wsdm would read them as they are written)";
  } else if (layout.format != Format::kWsdm && !conversations && !lists) {
    layout.cells = Cells::kText;
    if (layout.format == Format::kLmsys) layout.why += ", and its texts are no lists of turns";
  }
  if (!first.unknown_votes.empty() && !columns.winner.empty()) {
    std::vector<std::string> names;
    for (const auto& [name, rows] : first.unknown_votes) names.push_back(fmt::format("'{}' ({})", name, rows));
    constexpr size_t kMostNames = 6;
    if (names.size() > kMostNames) names.resize(kMostNames);
    layout.open_question =
        fmt::format("what the column '{}' says is not known: {}: say it with data.spellings.a, .b and .tie",
                    columns.winner, fmt::join(names, ", "));
  }
}

std::string names_of_layouts(const std::vector<Layout>& layouts) {
  std::string out;
  for (const Layout& layout : layouts)
    out += fmt::format("{}{} ({})", out.empty() ? "" : " and ", layout.name, layout.why);
  return out;
}

}  // namespace

std::vector<Layout> layouts_of(const std::vector<std::string>& names) {
  const Header header(names);
  std::vector<Layout> found;
  auto add = [&](const KnownLayout& known, bool votes) {
    if (std::ranges::any_of(found, [&](const Layout& other) { return other.format == known.format; })) return;
    std::vector<std::string_view> columns = known.texts;
    if (votes) columns.insert(columns.end(), known.votes.begin(), known.votes.end());
    found.push_back({.format = known.format,
                     .name = known.name,
                     .votes = votes,
                     .why = columns_text(std::move(columns)) + (votes ? "" : " (no column of votes)")});
  };
  for (const KnownLayout& known : known_layouts())
    if (header.has_all(known.texts) && header.has_all(known.votes)) add(known, true);
  if (!found.empty()) return found;
  if (std::vector<Layout> generic = generic_layout(header); !generic.empty() && generic[0].votes) return generic;
  // To be judged: answers without votes, of the formats whose texts tell them apart.
  for (const KnownLayout& known : known_layouts())
    if (known.texts.size() > 1 && header.has_all(known.texts)) add(known, false);
  return found.empty() ? generic_layout(header) : found;
}

Layout recognize_layout(const std::filesystem::path& path) {
  const TableFile table = open_table(path);
  const std::vector<std::string> header = columns_of(table);
  std::vector<Layout> found = layouts_of(header);
  if (found.empty())
    fail("{}: no format has columns like {}: {}", path.string(), detail::list_names(header),
         detail::format_hint(header));
  // lmsys and wsdm have the same texts: without votes only the way they are written tells them apart.
  if (found.size() == 2 && !found[0].votes && found[0].format == Format::kLmsys && found[1].format == Format::kWsdm) {
    look_at_rows(table, found[0]);
    const bool plain = found[0].cells == Cells::kText;
    found[1].why = found[0].why;
    found.erase(plain ? found.begin() : found.begin() + 1);
  }
  if (found.size() > 1)
    fail("{}: its columns are those of more than one format, {}: name the one that is meant, data.format=…",
         path.string(), names_of_layouts(found));
  if (found[0].votes || found[0].format != Format::kLmsys) look_at_rows(table, found[0]);
  return std::move(found[0]);
}

namespace detail {

std::string format_hint(const std::vector<std::string>& header) {
  const std::vector<Layout> found = layouts_of(header);
  std::vector<std::string_view> names;
  for (const Layout& layout : found)
    if (layout.votes && layout.format != Format::kGeneric) names.push_back(layout.name);
  if (!names.empty()) return fmt::format("the columns are those of data.format: {}", fmt::join(names, " and of "));
  if (header.size() == 1)
    for (std::string_view name : {"data", "rows", "records", "examples", "items", "train"})
      if (header[0] == name)
        return fmt::format("the rows seem to be in '{0}': write each as a line of its own (jq -c '.{0}[]' FILE > NEW)",
                           name);
  if (found.size() == 1 && found[0].format == Format::kGeneric)
    return fmt::format("check data.format; by their names the columns are {}", settings_of(found[0].columns));
  return "check data.format, or name the columns: data.format=generic data.columns.prompt=… data.columns.response_a=… "
         "data.columns.response_b=… data.columns.winner=…";
}

}  // namespace detail
}  // namespace gavel
