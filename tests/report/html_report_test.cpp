#include "report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "report/svg.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kHostile =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' "
    "onmouseover=\"alert(3)&lt;\xff\x01{{}}";

class HtmlReport : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  /** A run of 30 steps with everything in it; texts from data are `text`. */
  fs::path make_run(const std::string& name, const std::string& text) {
    fs::path run = folder_ / name;
    fs::create_directories(run);
    Random random(1);
    std::string metrics;
    for (int step = 1; step <= 30; ++step) {
      metrics += fmt::format(
          "{{\"kind\":\"train\",\"step\":{},\"loss\":{},\"mean_loss\":1.0,\"learning_rate\":{},\"gradient_"
          "norm\":{},"
          "\"elapsed_seconds\":{},\"tokens\":512,\"tokens_per_second\":100.5}}\n",
          step, 1.2 - 0.02 * step + 0.1 * random.uniform(), 1e-4 * step, 2 + random.uniform(), 3 * step);
      if (step % 10 == 0)
        metrics += fmt::format("{{\"kind\":\"eval\",\"step\":{},\"log_loss\":{},\"accuracy\":0.5,\"rows\":40}}\n", step,
                               1.1 - 0.01 * step);
    }
    write_file(run / "metrics.jsonl", metrics);
    std::vector<JudgedRow> rows;
    for (int i = 0; i < 40; ++i) {
      JudgedRow row{text, i + 1, static_cast<int64_t>(20 + random.below(200)), 1, {}, {0.5, 0.3, 0.2}};
      row.label[random.below(3)] = 1;
      rows.push_back(row);
    }
    write_validation(run / "validation.jsonl", 30, rows);
    write_file(run / "recipe.yaml",
               "model:\n  path: \"" + text + "\"\ntrain:\n  learning_rate: 0.1\noutput: " + name + "\n");
    nlohmann::json info = {
        {"status", "finished"},
        {"gavel", text},
        {"total_steps", 30},
        {"message", text},
        {"constant_log_loss", 1.08},
        {"model", {{"path", text}}},
        {"data",
         {{"train", {{"path", text}, {"rows", 7}, {"labels", {1, 2, 4}}, {"tokens", {{"mean", 5.5}, {text, 1}}}}}}}};
    write_file(run / "run.json", info.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return run;
  }
  fs::path folder_ = fs::temp_directory_path() / ("gavel_html_test_" + std::to_string(::getpid()));
};

/** Nothing in the page could run or fetch something: no such tag, attribute or style. */
void expect_harmless(const std::string& page) {
  for (const char* bad :
       {"<script", "<img", "onerror=alert(2)>", " onmouseover=\"", "http://", "https://", "<link", "@import", "url("})
    EXPECT_THAT(page, Not(HasSubstr(bad)));
  for (size_t open = page.find('<'); open != std::string::npos; open = page.find('<', open + 1)) {
    std::string tag = page.substr(open, page.find('>', open) - open);
    for (const char* bad : {"src=", "href=", " onclick=", " onmouseover=", " onerror="})
      EXPECT_THAT(tag, Not(HasSubstr(bad)));
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST_F(HtmlReport, HasAllItsParts) {
  std::string page = report_html({read_run(make_run("one", "plain text"))});
  for (const char* part :
       {"Training loss", "Learning rate", "Gradient norm", "Tokens a second", "Validation log loss",
        "Validation accuracy", "Confusion matrix", "Reliability", "Length against loss", "Most wrong", "Most uncertain",
        "Recipe", "label shares", "plain text", "prefers-color-scheme: dark", "1.0800", "By class"})
    EXPECT_THAT(page, HasSubstr(part)) << part;
  expect_harmless(page);
  EXPECT_LT(page.size(), 200'000u);
  EXPECT_EQ(page, report_html({read_run(folder_ / "one")}));
}

TEST_F(HtmlReport, TextFromDataIsOnlyText) {
  RecordedRun run = read_run(make_run("<b>x", kHostile));
  ReportOptions options;
  options.texts = [](const RecordedRun&, const std::vector<int64_t>& rows) {
    std::map<int64_t, RowTexts> texts;
    for (int64_t row : rows) texts[row] = {kHostile, kHostile, kHostile};
    return texts;
  };
  std::string page = report_html({run, run}, options);
  expect_harmless(page);
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;script&gt;alert(1)"));
  EXPECT_THAT(page, Not(HasSubstr("<b>x")));
  EXPECT_EQ(page.find('\xff'), std::string::npos);
}

TEST_F(HtmlReport, RunsAreCompared) {
  make_run("one", "text");
  make_run("two", "text");
  write_file(folder_ / "two" / "recipe.yaml", "train:\n  learning_rate: 0.2\n");
  std::string page = report_html({read_run(folder_ / "one"), read_run(folder_ / "two")});
  for (const char* part : {"Comparison", "Settings that differ", "train.learning_rate", "0.2", "of one", "of two"})
    EXPECT_THAT(page, HasSubstr(part)) << part;
}

TEST_F(HtmlReport, ARunThatHasJustBegunOrIsDamagedHasAPage) {
  fs::path run = folder_ / "early";
  fs::create_directories(run);
  EXPECT_THROW(read_run(run), Error);
  EXPECT_THROW(read_run(folder_ / "nowhere"), Error);
  write_file(run / "recipe.yaml", "train:\n  epochs: 1\n");
  EXPECT_THAT(report_html({read_run(run)}), HasSubstr("nothing yet"));
  write_file(run / "run.json",
             "{\"status\": \"running\", \"data\": [], \"model\": 3, \"resumes\": {}, \"total_steps\": []}");
  EXPECT_THAT(report_html({read_run(run)}), HasSubstr("refresh"));
  write_file(run / "metrics.jsonl", "{\"kind\":\"train\",\"step\":1,\"loss\":null}\n{\"kind\":\"other\"}\n");
  write_file(run / "run.json", "[1");
  write_file(run / "validation.jsonl", "<broken>");
  std::string page = report_html({read_run(run)});
  EXPECT_THAT(page, HasSubstr("validation.jsonl"));
  EXPECT_THAT(page, HasSubstr("run.json"));
  expect_harmless(page);
}

TEST(RecipeSettings, AreFlat) {
  auto settings =
      recipe_settings("model:\n  path: \"a: b\"\ndata:\n  columns:\n    id: x\n  cells: json\n# note\ndevice: cpu\n");
  std::vector<std::pair<std::string, std::string>> expected = {
      {"model.path", "\"a: b\""}, {"data.columns.id", "x"}, {"data.cells", "json"}, {"device", "cpu"}};
  EXPECT_EQ(settings, expected);
}

TEST(EscapeMarkup, KeepsLettersAndMendsBytes) {
  EXPECT_EQ(escape_markup("a<b>&\"'\x01ü€😀"), "a&lt;b&gt;&amp;&quot;&#39; ü€😀");
  EXPECT_EQ(escape_markup("\xc3"), "\xEF\xBF\xBD");
  EXPECT_EQ(escape_markup("\xed\xa0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
}

TEST_F(HtmlReport, ARewardsPageSaysRewards) {
  const fs::path run = make_run("reward", "row");
  std::vector<JudgedRow> rows;
  // Margins 1, 3 and -1; the tie's answers have 0.5 and 0.25.
  for (const auto& [label, rewards] : std::vector<std::pair<std::array<double, 3>, std::array<double, 2>>>{
           {{1, 0, 0}, {2, 1}}, {{0, 1, 0}, {-1, 2}}, {{1, 0, 0}, {0, 1}}, {{0, 0, 1}, {0.5, 0.25}}})
    rows.push_back({"x", std::ssize(rows) + 1, 30, 1, label, {0.4, 0.3, 0.3}, rewards});
  write_validation(run / "validation.jsonl", 30, rows);
  write_file(run / "reward.json", "{\"tie_logit\": 0.25}\n");
  const ReportOptions options{
      {}, [](const RecordedRun&) { return std::vector<std::string>{"few", "<many>", "few", "few"}; }};
  const std::string page = report_html({read_run(run)}, options);
  EXPECT_THAT(page, HasSubstr("What the reward says"));
  EXPECT_THAT(page, HasSubstr("<td>mean, preferred answers</td><td>1.333</td>"));
  EXPECT_THAT(page, HasSubstr("<td>mean, the others</td><td>0.333</td>"));
  EXPECT_THAT(page, HasSubstr("<td>mean margin</td><td>1.000</td>"));
  EXPECT_THAT(page, HasSubstr("<td>margin above 0</td><td>66.7 % of 3</td>"));
  EXPECT_THAT(page, HasSubstr("<td>logit of a tie (learnt)</td><td>0.250</td>"));
  // e^0.25 / (2 + e^0.25)
  EXPECT_THAT(page, HasSubstr("<td>a tie of equal rewards</td><td>39.1 %</td>"));
  EXPECT_THAT(page, HasSubstr("<td>verdict tie</td><td>margin below 0.500</td>"));
  EXPECT_THAT(page, HasSubstr("<h3>By subset</h3>"));
  EXPECT_THAT(page, HasSubstr("<td>&lt;many&gt;</td><td>1</td>"));
  EXPECT_THAT(page, HasSubstr("judged tie"));

  // Without ties nothing speaks of them.
  for (JudgedRow& row : rows) {
    row.probabilities = {0.6, 0.4, 0};
    if (row.label[2] == 1) row.label = {0.5, 0.5, 0};
  }
  write_validation(run / "validation.jsonl", 30, rows);
  fs::remove(run / "reward.json");
  const std::string untied = report_html({read_run(run)});
  for (const char* part : {"judged tie", "label tie", "tie (learnt)", "<td>tie</td>", "verdict tie"})
    EXPECT_THAT(untied, Not(HasSubstr(part))) << part;
  EXPECT_THAT(untied, HasSubstr("0.50 / 0.50<"));
}

}  // namespace
}  // namespace gavel
