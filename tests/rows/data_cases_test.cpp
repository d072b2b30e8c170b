// Files of votes in the layouts that people have (../shared/cases/data): each gives its rows, or is refused by what is odd
// about it.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "data/test_support.h"
#include "rows/preferences.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/** What is right for a file: its rows, or (where there are none) an error with this in it. */
struct DataCase {
  std::string file;
  Format format = Format::kLmsys;
  std::vector<std::string> rows;
  std::string refusal;
  Columns columns = {};
  Spellings spellings = {};
};

/** "prompt|a|b|A": turns are joined with /, and the label is A, B, T or - for none. */
std::string shown_row(const PreferenceRow& row) {
  auto turns = [](const std::vector<std::string>& list) {
    std::string out;
    for (const std::string& turn : list) out += (out.empty() ? "" : "/") + turn;
    return out;
  };
  const char label = !row.has_label         ? '-'
                     : row.label[0] == 1.0f ? 'A'
                     : row.label[1] == 1.0f ? 'B'
                     : row.label[2] == 1.0f ? 'T'
                                            : '?';
  return fmt::format("{}|{}|{}|{}", turns(row.prompt), turns(row.response_a), turns(row.response_b), label);
}

/** Rows "q0|a0|b0|A", …, one for each letter of `labels`. */
std::vector<std::string> numbered(std::string_view labels) {
  std::vector<std::string> rows;
  for (char label : labels) rows.push_back(fmt::format("q{0}|a{0}|b{0}|{1}", rows.size(), label));
  return rows;
}

/** The same from 1. */
const std::vector<std::string> kThree = {"q1|a1|b1|A", "q2|a2|b2|B", "q3|a3|b3|T"};
const std::vector<std::string> kBaseline = {"hi there|hello|bye|A", "two?|2|three|B", "x|y|z|T"};
const Columns kPairs = {.prompt = "prompt", .response_a = "response_a", .response_b = "response_b"};

Columns with_winner(std::string id = "") {
  Columns columns = kPairs;
  columns.id = std::move(id);
  columns.winner = "winner";
  return columns;
}

Columns with_shares() {
  Columns columns = kPairs;
  columns.label_a = "la";
  columns.label_b = "lb";
  columns.label_tie = "lt";
  return columns;
}

std::multimap<std::string, DataCase> data_cases() {
  using enum Format;
  return {
      {"data-backslash-escape",
       {"d.csv", kLmsys, {}, "quotes inside a cell are written twice, not behind a backslash"}},
      {"data-baseline", {"d.csv", kLmsys, kBaseline, ""}},
      {"data-chosen-rejected", {"d.jsonl", kChosen, {"q|good|bad|A", "q|good|bad|A", "q|good|bad|A"}, ""}},
      {"data-chosen-rejected", {"d.jsonl", kLmsys, {}, "data.format: chosen"}},
      {"data-compressed", {"d.csv.gz", kLmsys, kBaseline, ""}},
      {"data-compressed", {"d.csv.bz2", kLmsys, {}, "found a bzip2 file: unpack it first (bunzip2 -k"}},
      {"data-compressed", {"d.csv.xz", kLmsys, kBaseline, ""}},
      {"data-conversation-dicts",
       {"d.jsonl", kWsdm, {}, "expected a key 'prompt', found conversation_a, conversation_b, winner"}},
      {"data-conversation-dicts", {"d.jsonl", kConversations, {"q|a|b|A"}, ""}},
      {"data-csv-latin1", {"d.csv", kLmsys, {}, "if the file is Latin-1, convert it (iconv -f LATIN1"}},
      {"data-csv-utf16-nobom", {"d.csv", kLmsys, {}, "found UTF-16: convert it first (iconv -f UTF-16LE -t UTF-8"}},
      {"data-empty", {"d.csv", kLmsys, {}, "no rows"}},
      {"data-excel-sep", {"d.csv", kLmsys, kBaseline, ""}},
      {"data-gz-as-jsonl", {"d.jsonl", kLmsys, {}, "expected a JSON object on each line, found 'id,prompt"}},
      {"data-header-blanks", {"d.csv", kLmsys, {}, "expected a column 'prompt', found id, Prompt"}},
      {"data-index-column", {"d.csv", kLmsys, kBaseline, ""}},
      {"data-json-array", {"d.json", kWsdm, numbered("AAAAAAAA"), ""}},
      {"data-json-array-1line", {"d.jsonl", kWsdm, numbered("AAAAAAAA"), ""}},
      {"data-json-ext-lines", {"d.json", kWsdm, numbered("AAAAAAAA"), ""}},
      {"data-json-ext-lines", {"d.json", kLmsys, {}, "data.format: wsdm"}},
      {"data-jsonl-bigint", {"d.jsonl", kGeneric, numbered("AAAAAAAA"), "", with_winner("qid")}},
      {"data-jsonl-concat", {"d.jsonl", kWsdm, {}, "row 1: expected a JSON object on each line"}},
      {"data-jsonl-deep", {"d.jsonl", kWsdm, {}, "row 1: expected a JSON object on each line"}},
      {"data-jsonl-missing-later", {"d.jsonl", kWsdm, {}, "labels that are not known: (empty) (1)"}},
      {"data-jsonl-nan", {"d.jsonl", kWsdm, numbered("AAAAAAAA"), ""}},
      {"data-jsonl-nan-later", {"d.jsonl", kWsdm, {"q|a|b|A", "q|a|b|A"}, ""}},
      {"data-jsonl-nested-column", {"d.jsonl", kWsdm, {}, "expected a key 'prompt', found x, winner"}},
      {"data-jsonl-prompt-list-text", {"d.jsonl", kWsdm, {"[\"red\", \"green\"]|a|b|A"}, ""}},
      {"data-jsonl-prompt-list-text", {"d.jsonl", kGeneric, {"[\"red\", \"green\"]|a|b|A"}, "", with_winner()}},
      {"data-jsonl-rs", {"d.jsonl", kWsdm, numbered("AA"), ""}},
      {"data-jsonl-trailing-comma", {"d.jsonl", kWsdm, {}, "row 1: expected a JSON object on each line"}},
      {"data-jsonl-utf16", {"d.jsonl", kWsdm, {}, "found UTF-16: convert it first (iconv -f UTF-16 -t UTF-8"}},
      {"data-label-nan", {"d.csv", kLmsys, {}, "4 of 5 rows"}},
      {"data-lfs-pointer", {"d.csv", kLmsys, {}, "Git LFS"}},
      {"data-lfs-pointer-parquet", {"d.parquet", kLmsys, {}, "Git LFS"}},
      {"data-nul", {"d.csv", kLmsys, {std::string("hi\0 there|a|b|A", 15)}, ""}},
      {"data-numpy-repr", {"d.csv", kLmsys, {"hi/there|a/b|c/d|A"}, ""}},
      {"data-python-repr", {"d.csv", kLmsys, kBaseline, ""}},
      {"data-python-repr-mixed",
       {"d.csv", kLmsys, {kBaseline[0], kBaseline[1], kBaseline[2], "it's|that's it|what's|A"}, ""}},
      {"data-role-content-prompt", {"d.jsonl", kWsdm, {}, "key 'prompt': expected a list of strings and nulls"}},
      {"data-semicolon", {"d.csv", kLmsys, kBaseline, ""}},
      {"data-spaces-label", {"d.csv", kLmsys, {"q|a|b|A"}, ""}},
      {"data-trailing-comma", {"d.csv", kLmsys, {}, "found one more, which is empty"}},
      {"data-winner-both-bad", {"d.jsonl", kWsdm, numbered("ABTTTTTT"), ""}},
      {"data-winner-ints", {"d.jsonl", kWsdm, {}, "labels that are not known: '0' (4), '1' (4)"}},
      {"data-winner-ints", {"d.jsonl", kWsdm, numbered("ABABABAB"), "", {}, {.a = {"0"}, .b = {"1"}, .tie = {}}}},
      {"data-winner-ints", {"d.csv", kWsdm, {}, "labels that are not known: '0' (3), '1' (3)"}},
      {"data-winner-mixed-case-drop", {"d.jsonl", kWsdm, numbered("ATATATAT"), ""}},
      {"data-zip", {"train.csv.zip", kLmsys, {}, "found a zip file: unpack it first (unzip"}},
      {"data-zip-as-csv", {"train.csv", kLmsys, {}, "found a zip file: unpack it first (unzip"}},
      {"parquet-advice", {"d.csv", kLmsys, {"hi/more|a/b|c/d|A", "two?|2|3|B", "it's|that's|what's|T"}, ""}},
      {"parquet-advice", {"d.parquet", kLmsys, {"hi/more|a/b|c/d|A", "two?|2|3|B", "it's|that's|what's|T"}, ""}},
      {"parquet-binary", {"d.parquet", kWsdm, {}, "that are no UTF-8"}},
      {"parquet-brotli", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-categorical-null", {"d.parquet", kWsdm, {}, "labels that are not known: (empty) (1)"}},
      {"parquet-decimal-label", {"d.parquet", kGeneric, kThree, "", with_shares()}},
      {"parquet-dictionary", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-empty", {"d.parquet", kWsdm, {}, "no rows"}},
      {"parquet-fixed-list", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-float-id", {"d.parquet", kGeneric, kThree, "", with_winner("qid")}},
      {"parquet-gzip", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-half-float-label", {"d.parquet", kGeneric, kThree, "", with_shares()}},
      {"parquet-int-winner", {"d.parquet", kWsdm, {}, "labels that are not known: '0' (2), '1' (1)"}},
      {"parquet-list-nulls", {"d.parquet", kWsdm, {"q1/|a/b|a2/b|A", "|c|c2|B", "||z|T"}, ""}},
      {"parquet-lz4", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-nested-name-clash", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-shards", {"train-00000-of-00002.parquet", kWsdm, kThree, ""}},
      {"parquet-string-view", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-timestamp-id", {"d.parquet", kGeneric, kThree, "", with_winner("tstamp")}},
      {"parquet-unused-struct", {"d.parquet", kWsdm, kThree, ""}},
      {"parquet-zstd", {"d.parquet", kWsdm, kThree, ""}},
  };
}

TEST(DataCases, GiveTheirRowsOrAreRefusedByWhatIsOddAboutThem) {
  const fs::path folder = shared_file("cases/data");
  if (folder.empty()) GTEST_SKIP() << "no folder cases/data beside the shared data (GAVEL_SHARED)";
  const auto cases = data_cases();
  std::set<std::string> without_parquet;
  for (const auto& [name, expected] : cases) {
    SCOPED_TRACE(fmt::format("{}/{}", name, expected.file));
    ReadOptions options;
    options.format = expected.format;
    options.columns = expected.columns;
    options.spellings = expected.spellings;
    options.max_dropped = 0.05;
    std::vector<std::string> rows;
    std::string error;
    try {
      for (const PreferenceRow& row : read_preferences(folder / name / expected.file, options).rows)
        rows.push_back(shown_row(row));
    } catch (const Error& refusal) {
      error = refusal.what();
    }
    if (error.find("this build reads no Parquet") != std::string::npos) {
      EXPECT_THAT(name, testing::StartsWith("parquet-"));
      without_parquet.insert(name);
      continue;
    }
    EXPECT_EQ(rows, expected.rows) << error;
    if (expected.rows.empty()) {
      EXPECT_THAT(error, HasSubstr(expected.refusal));
      EXPECT_THAT(error, HasSubstr(expected.file));
    }
  }
  for (const auto& entry : fs::directory_iterator(folder))
    EXPECT_TRUE(cases.contains(entry.path().filename().string())) << entry.path() << " has no right result here";
  if (!without_parquet.empty())
    GTEST_LOG_(INFO) << without_parquet.size()
                     << " cases need a build with Apache Arrow (tools/fetch_packages.py pyarrow)";
}

}  // namespace
}  // namespace gavel
