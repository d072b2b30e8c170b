// Small files as people make them by hand or with pandas: read as they are meant, or refused with what to do.
#include <gmock/gmock.h>

#include "base/error.h"
#include "data/test_support.h"
#include "rows/preferences.h"
#include "rows/row_stream.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

ReadOptions options_of(Format format, Cells cells = Cells::kJson) {
  ReadOptions options;
  options.format = format;
  options.cells = cells;
  if (format == Format::kGeneric)
    options.columns = {.prompt = "question", .response_a = "first", .response_b = "second", .winner = "better"};
  return options;
}

/** "question|first|second|A", … */
std::vector<std::string> rows_of(const std::filesystem::path& path, const ReadOptions& options) {
  std::vector<std::string> out;
  for (const PreferenceRow& row : read_preferences(path, options).rows) {
    EXPECT_EQ(row.prompt.size(), 1u);
    out.push_back(fmt::format("{}|{}|{}|{}", row.prompt.at(0), row.response_a.at(0), row.response_b.at(0),
                              row.label[0] == 1   ? 'A'
                              : row.label[1] == 1 ? 'B'
                                                  : 'T'));
  }
  return out;
}

constexpr const char* kObjects[] = {R"({"question": "q1", "first": "a1", "second": "b1", "better": "model_a"})",
                                    R"({"question": "q2", "first": "a2", "second": "b2", "better": "tie"})"};

TEST(UserFiles, JsonUnderTheNameOfCsvIsRead) {
  const TempFolder folder;
  const std::string array = fmt::format("[{},\n {}]", kObjects[0], kObjects[1]),
                    lines = fmt::format("{}\n{}\n", kObjects[0], kObjects[1]);
  for (const char* name : {"a.csv", "a.json", "a.jsonl", "a.txt"})
    for (const std::string& text : {array, lines, "\xEF\xBB\xBF" + array})
      EXPECT_THAT(rows_of(folder.write(name, text), options_of(Format::kGeneric)),
                  ElementsAre("q1|a1|b1|A", "q2|a2|b2|T"))
          << name;
  // A header in brackets is a header.
  EXPECT_THAT(
      rows_of(folder.write("b.csv", "[question],first,second,better\nq,a,b,tie\n"),
              {.format = Format::kGeneric,
               .columns = {.prompt = "[question]", .response_a = "first", .response_b = "second", .winner = "better"},
               .cells = Cells::kText}),
      ElementsAre("q|a|b|T"));
}

TEST(UserFiles, EverySeparatorIsFound) {
  const TempFolder folder;
  for (char separator : {',', ';', '\t', '|'}) {
    std::string text = "prompt,response_a,response_b,winner\nq1,a1,b1,model_a\n\"q2\",\"a,;|\t2\",b2,model_b\n";
    // What is quoted stays.
    const size_t quoted = text.find("a,;");
    for (size_t i = 0; i < text.size(); ++i)
      if (text[i] == ',' && i != quoted + 1) text[i] = separator;
    EXPECT_THAT(rows_of(folder.write("s.csv", text), options_of(Format::kWsdm)),
                ElementsAre("q1|a1|b1|A", "q2|a,;|\t2|b2|B"))
        << separator;
  }
}

TEST(UserFiles, PlainTextNamesTheSettingForIt) {
  const TempFolder folder;
  const auto path = folder.write("p.csv", "question,first,second,better\nq1,a1,b1,model_a\nq2,a2,b2,tie\n");
  EXPECT_THAT(error_of([&] { rows_of(path, options_of(Format::kGeneric)); }), HasSubstr("set data.cells: text"));
  EXPECT_THAT(rows_of(path, options_of(Format::kGeneric, Cells::kText)), ElementsAre("q1|a1|b1|A", "q2|a2|b2|T"));
  EXPECT_THAT(error_of([&] { rows_of(path, options_of(Format::kLmsys)); }),
              AllOf(HasSubstr("expected a column 'prompt', found question, first"),
                    HasSubstr("data.format=generic data.columns.prompt=")));
}

TEST(UserFiles, AnotherFormatsColumnsNameIt) {
  const TempFolder folder;
  const auto csv = folder.write("w.csv", "id,prompt,response_a,response_b,winner,language\n1,q,a,b,model_a,English\n");
  const auto jsonl =
      folder.write("w.jsonl", R"({"prompt": "q", "response_a": "a", "response_b": "b", "winner": "model_a"})");
  for (const auto& path : {csv, jsonl}) {
    EXPECT_THAT(error_of([&] { rows_of(path, options_of(Format::kLmsys)); }), HasSubstr("data.format: wsdm"));
    EXPECT_THAT(rows_of(path, options_of(Format::kWsdm)), ElementsAre("q|a|b|A"));
  }
}

TEST(UserFiles, JsonOfAnotherShapeSaysHowToMakeLines) {
  const TempFolder folder;
  auto error = [&](const std::string& text) {
    return error_of([&] { rows_of(folder.write("x.json", text), options_of(Format::kGeneric)); });
  };
  EXPECT_THAT(error(fmt::format("{{\"data\": [{}, {}]}}", kObjects[0], kObjects[1])), HasSubstr("jq -c '.data[]'"));
  EXPECT_THAT(error("{\n  \"question\": \"q\",\n  \"first\": \"a\"\n}\n"), HasSubstr("jq -c ."));
}

TEST(UserFiles, LabelsThatAreNotANumberAreMissingOnes) {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += fmt::format(
        "{{\"prompt\": \"q{}\", \"response_a\": \"a\", \"response_b\": \"b\", \"winner_model_a\": {}, "
        "\"winner_model_b\": {}, \"winner_tie\": {}}}\n",
        i, i == 2 ? "NaN" : "1", i == 2 ? "NaN" : "0", i == 2 ? "NaN" : "0");
  ReadOptions options = options_of(Format::kLmsys);
  options.max_dropped = 0.05;
  const PreferenceData data = read_preferences(folder.write("n.jsonl", text), options);
  EXPECT_EQ(data.rows.size(), 39u);
  EXPECT_EQ(data.report.unknown_labels.at("(empty)"), 1);
  EXPECT_EQ(data.report[Oddity::kBadLabel].first_rows, std::vector<int64_t>{3});
}

TEST(UserFiles, CountingFindsWhatIsWrongAtTheEnd) {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 100; ++i) text += std::string(kObjects[i % 2]) + "\n";
  const ReadOptions options = options_of(Format::kGeneric);
  EXPECT_EQ(count_rows(folder.write("c.jsonl", text), options), 100);
  EXPECT_THAT(error_of([&] { count_rows(folder.write("c.jsonl", text + "{\"question\": \"cut"), options); }),
              HasSubstr("c.jsonl: row 101"));
}

}  // namespace
}  // namespace gavel
