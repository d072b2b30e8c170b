// `gavel tokenize`: what it prints for texts from files and the command line, the way back, and what goes
// wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "cli/run_cli.h"
#include "setup/test_support.h"
#include "text/tokenizer.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Tokenize : public testing::Test {
 protected:
  static fs::path tokenizer_path() { return fs::path(GAVEL_SOURCE_DIR) / "tests/text/data/llama3.json"; }
  std::string file(const std::string& name, std::string_view text) const {
    write_file(scratch_.path() / name, text);
    return (scratch_.path() / name).string();
  }
  struct Result {
    int status;
    std::string out, error;
  };
  Result run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"gavel", "--quiet", "tokenize", "--tokenizer", tokenizer_path().string()});
    std::vector<const char*> pointers;
    for (const auto& argument : arguments) pointers.push_back(argument.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    int status = run_cli(static_cast<int>(pointers.size()), pointers.data());
    std::string out = testing::internal::GetCapturedStdout();
    return {status, out, testing::internal::GetCapturedStderr()};
  }
  std::string out_of(const std::vector<std::string>& arguments) const {
    Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.error;
    return result.out;
  }
  std::string ids_line(std::string_view text) const {
    std::vector<int32_t> ids;
    tokenizer_.encode(text, ids);
    return nlohmann::json(ids).dump() + "\n";
  }

  TempFolder scratch_{"gavel_tokenize_test"};
  Tokenizer tokenizer_ = Tokenizer::load(tokenizer_path());
};

TEST_F(Tokenize, LinesOfFiles) {
  std::string first = file("first", "the judge\n\nsays é\r\nno line break"), second = file("second", "a\n");
  EXPECT_EQ(out_of({first, second}),
            ids_line("the judge") + "[]\n" + ids_line("says é\r") + ids_line("no line break") + ids_line("a"));
  EXPECT_EQ(out_of({"--whole", first}), ids_line("the judge\n\nsays é\r\nno line break"));
  EXPECT_EQ(out_of({"--text", "the judge", "--text", "a"}), ids_line("the judge") + ids_line("a"));
  EXPECT_EQ(out_of({file("empty", "")}), "");
}

TEST_F(Tokenize, StandardInput) {
  std::string input = file("input", "the judge\na");
  int saved = ::dup(STDIN_FILENO);
  ASSERT_NE(std::freopen(input.c_str(), "r", stdin), nullptr);
  std::string out = out_of({});
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  EXPECT_EQ(out, ids_line("the judge") + ids_line("a"));
}

TEST_F(Tokenize, ManyBlocksKeepTheirOrder) {
  std::string text;
  for (int i = 0; i < 30000; ++i) text += "line " + std::to_string(i) + std::string(300, ' ') + "\n";
  std::istringstream lines(text);
  std::istringstream found(out_of({"--threads", "3", file("long", text)}));
  for (std::string line, ids; std::getline(lines, line);) {
    ASSERT_TRUE(std::getline(found, ids));
    ASSERT_EQ(ids + "\n", ids_line(line));
  }
  EXPECT_EQ(found.get(), EOF);
}

TEST_F(Tokenize, OtherWaysToPrint) {
  std::string text = file("text", "the judge <|end_of_text|>\n");
  auto json = nlohmann::json::parse(out_of({"--json", text}));
  EXPECT_EQ(json["text"], "the judge <|end_of_text|>");
  EXPECT_EQ(json["ids"].dump() + "\n", ids_line("the judge <|end_of_text|>"));
  EXPECT_EQ(json["count"], json["ids"].size());
  EXPECT_EQ(json["tokens"].back(), "<|end_of_text|>");
  EXPECT_EQ(nlohmann::json::parse(out_of({"--tokens", text})), json["tokens"]);
  EXPECT_EQ(out_of({"--count", text}), json["count"].dump() + "\n");
  EXPECT_EQ(out_of({"--ids", text}), out_of({text}));
  EXPECT_EQ(out_of({"--jsonl", file("lines", "{\"text\": \"the\\njudge\"}\n\n{\"text\": \"\\ud83d\"}\n")}),
            ids_line("the\njudge") + ids_line("\ufffd"));
}

TEST_F(Tokenize, TemplateAndLength) {
  std::string begin = std::to_string(tokenizer_.prefix().at(0));
  EXPECT_EQ(out_of({"--add-special-tokens", "--text", ""}), "[" + begin + "]\n");
  EXPECT_EQ(out_of({"--add-special-tokens", "--max-length", "1", "--text", "the judge"}), "[" + begin + "]\n");
  auto ids = nlohmann::json::parse(ids_line("one two three"));
  EXPECT_EQ(out_of({"--max-length", "2", "--text", "one two three"}), nlohmann::json({ids[0], ids[1]}).dump() + "\n");
  EXPECT_EQ(out_of({"--max-length", "1", "--truncation-side", "left", "--text", "one two three"}),
            nlohmann::json({ids.back()}).dump() + "\n");
}

TEST_F(Tokenize, DecodeIsTheWayBack) {
  std::string text = "the judge é 世界\n\n  <|end_of_text|> x\n";
  std::string ids = file("ids", out_of({file("text", text)}));
  EXPECT_EQ(out_of({"--decode", ids}), text);
  EXPECT_THAT(out_of({"--decode", "--skip-special-tokens", ids}), HasSubstr("\n   x\n"));
  EXPECT_EQ(out_of({"--decode", "--text", "[64, 65]", "--text", "64 65"}), "ab\nab\n");
  std::string json = file("json", out_of({"--json", file("text", text)}));
  EXPECT_EQ(out_of({"--decode", "--jsonl", json}), text);
  EXPECT_EQ(out_of({"--decode", "--json", "--text", "64"}), "{\"text\":\"a\"}\n");
}

TEST_F(Tokenize, ErrorsNameTheLine) {
  auto error = [&](const std::vector<std::string>& arguments) {
    Result result = run(arguments);
    EXPECT_NE(result.status, 0);
    return result.error;
  };
  EXPECT_THAT(error({"--decode", file("ids", "[64]\n[64,x]\n")}),
              HasSubstr("ids, line 2: expected token ids like [1,2,3], found x"));
  EXPECT_THAT(error({"--decode", "--text", "64 99999"}),
              HasSubstr("line 1: 99999 is no id of this tokenizer, which has 0 to"));
  EXPECT_THAT(error({"--jsonl", file("lines", "{\"text\": \"a\"}\n{}\n")}),
              HasSubstr("lines, line 2: expected a JSON object with \"text\", found {}"));
  EXPECT_THAT(error({"/no/such/file"}), HasSubstr("/no/such/file: can't be opened: No such file"));
  EXPECT_THAT(error({"--add-eos-token", "--text", "a"}), HasSubstr("there is no eos token to add"));
  EXPECT_THAT(error({"--ids", "--count", "--text", "a"}), HasSubstr("excludes"));
  EXPECT_THAT(run({"--text", "a\xff"}).error, HasSubstr("1 places were not UTF-8"));
}

}  // namespace
}  // namespace gavel
