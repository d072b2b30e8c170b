#include "usage/complete.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "cli/run_cli.h"
#include "data/test_support.h"
#include "recipe/recipe.h"
#include "usage/build_info.h"

namespace gavel {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;
using testing::StartsWith;
namespace fs = std::filesystem;

/** What the program says to the scripts. */
struct Answer {
  std::vector<std::string> words;
  bool files = false;
};

std::string printed(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "gavel");
  std::vector<const char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
  testing::internal::CaptureStdout();
  const int status = run_cli(static_cast<int>(pointers.size()), pointers.data(), {"0123abc", "2026-01-02"});
  std::fflush(stdout);
  std::string text = testing::internal::GetCapturedStdout();
  EXPECT_EQ(status, 0) << text;
  return text;
}

Answer complete_line(std::vector<std::string> words) {
  words.insert(words.begin(), kCompleteCommand);
  const std::string text = printed(words);
  Answer answer;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line == ":files")
      answer.files = true;
    else
      answer.words.push_back(line.substr(0, line.find('\t')));
    at = end + 1;
  }
  return answer;
}

TEST(Complete, Commands) {
  EXPECT_THAT(complete_line({""}).words, IsSupersetOf({"train", "judge", "schema", "completion", "man"}));
  EXPECT_THAT(complete_line({"tr"}).words, ElementsAre("train"));
  EXPECT_THAT(complete_line({"data", "make"}).words, ElementsAre("make-sample"));
  EXPECT_THAT(complete_line({"--quiet", "pa"}).words, ElementsAre("parity"));
  EXPECT_TRUE(complete_line({"jugde", ""}).words.empty());
}

TEST(Complete, Options) {
  const Answer train = complete_line({"train", "--"});
  EXPECT_THAT(train.words, IsSupersetOf({"--resume", "--until", "--json", "--quiet"}));
  EXPECT_THAT(train.words, Not(Contains("--version")));
  EXPECT_FALSE(train.files);
  EXPECT_THAT(complete_line({"data", "make-sample", "--ro"}).words, ElementsAre("--rows"));
}

TEST(Complete, ValuesOfOptions) {
  EXPECT_THAT(complete_line({"export", "--dtype", ""}).words, ElementsAre("float32", "bfloat16"));
  EXPECT_THAT(complete_line({"export", "--dtype=b"}).words, ElementsAre("--dtype=bfloat16"));
  EXPECT_TRUE(complete_line({"predict", "--adapter", ""}).files);
  EXPECT_TRUE(complete_line({"predict", "--adapter=ru"}).files);
  const Answer number = complete_line({"train", "--until", ""});
  EXPECT_TRUE(number.words.empty() && !number.files);
  EXPECT_THAT(complete_line({"completion", ""}).words, ElementsAre("bash", "zsh", "fish"));
}

TEST(Complete, KeysOfRecipesWhereSettingsAreExpected) {
  const Answer recipe = complete_line({"train", ""});
  EXPECT_TRUE(recipe.files && recipe.words.empty());
  const Answer keys = complete_line({"train", "r.yaml", ""});
  EXPECT_EQ(keys.words.size(), recipe_keys().size());
  EXPECT_THAT(keys.words, Each(testing::EndsWith("=")));
  EXPECT_THAT(complete_line({"train", "r.yaml", "train.seed=1", "train.sche"}).words, ElementsAre("train.schedule="));
  EXPECT_THAT(complete_line({"train", "--until", "5", "r.yaml", "mesh.m"}).words, ElementsAre("mesh.mp="));
  EXPECT_THAT(complete_line({"predict", "--adapter", "a", "data.pad"}).words, ElementsAre("data.pad_to="));
  EXPECT_TRUE(complete_line({"parity", "folder", "train."}).words.empty());
}

TEST(Complete, ValuesOfKeys) {
  EXPECT_THAT(complete_line({"train", "r.yaml", "train.schedule="}).words,
              ElementsAre("train.schedule=cosine", "train.schedule=linear", "train.schedule=constant"));
  EXPECT_THAT(complete_line({"train", "r.yaml", "data.balance=t"}).words, ElementsAre("data.balance=true"));
  EXPECT_THAT(complete_line({"train", "r.yaml", "train.max_steps="}).words, ElementsAre("train.max_steps=null"));
  EXPECT_TRUE(complete_line({"train", "r.yaml", "data.train="}).files);
  EXPECT_FALSE(complete_line({"train", "r.yaml", "train.seed="}).files);
  EXPECT_TRUE(complete_line({"train", "r.yaml", "no.such="}).words.empty());
  EXPECT_THAT(complete_line({"sweep", "r.yaml", "train.schedule=cosine,l"}).words,
              ElementsAre("train.schedule=cosine,linear"));
}

/** What bash offers for the line, whose last word is at the cursor; "" when it could not be asked. */
std::string in_bash(const TempFolder& folder, const std::string& line) {
  folder.write("ask.sh", R"(source "$1"
line=$2
COMP_LINE=$line COMP_POINT=${#line}
# As bash cuts words: at blanks, and "=" is a word of its own.
read -ra COMP_WORDS <<< "${line//=/ = }"
[[ $line == *[[:space:]] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { options+="$* "; }
_gavel "$3"
printf '%s\n' "${COMPREPLY[@]}" "options: $options"
)");
  folder.write("gavel.bash", completion_script("bash"));
  const std::string command = "cd " + (folder / "").string() + " && bash ask.sh ./gavel.bash '" + line + "' " +
                              GAVEL_BINARY_DIR + "/gavel > said 2>&1";
  return std::system(command.c_str()) == 0 ? read_text(folder / "said") : "";
}

TEST(Completion, ScriptOfBash) {
  if (std::system("command -v bash > /dev/null") != 0 || !fs::exists(fs::path(GAVEL_BINARY_DIR) / "gavel"))
    GTEST_SKIP() << "no bash, or no program";
  const TempFolder folder;
  folder.write("mine.yaml", "");
  EXPECT_EQ(in_bash(folder, "gavel tra"), "train\noptions: \n");
  EXPECT_EQ(in_bash(folder, "gavel train mi"), "mine.yaml\noptions: -o filenames \n");
  EXPECT_EQ(in_bash(folder, "gavel train mine.yaml train.sche"), "train.schedule=\noptions: -o nospace \n");
  // bash replaces what stands behind "=" alone.
  EXPECT_EQ(in_bash(folder, "gavel train mine.yaml train.schedule="), "cosine\nlinear\nconstant\noptions: \n");
  EXPECT_EQ(in_bash(folder, "gavel train mine.yaml train.schedule=li"), "linear\noptions: \n");
  EXPECT_EQ(in_bash(folder, "gavel train mine.yaml data.train=mi"), "mine.yaml\noptions: -o filenames \n");
  EXPECT_EQ(in_bash(folder, "gavel export --dtype="), "float32\nbfloat16\noptions: \n");
}

TEST(ManPage, HasEveryCommandOptionAndKey) {
  const std::string page = printed({"man"});
  EXPECT_THAT(page, StartsWith(".TH GAVEL 1 \"2026-01-02\""));
  for (const char* text : {".SS \\fBgavel train\\fR", ".SS \\fBgavel data make\\-sample\\fR", "\\fB\\-\\-adapter\\fR",
                           "\\fB\\-\\-until\\fR"})
    EXPECT_THAT(page, HasSubstr(text));
  for (const RecipeKey& key : recipe_keys()) EXPECT_THAT(page, HasSubstr(".TP\n\\fB" + key.key + "\\fR\n"));
  for (unsigned char c : page) ASSERT_LT(c, 0x80);
}

TEST(ManPage, GroffHasNothingToSay) {
  if (std::system("command -v groff > /dev/null") != 0) GTEST_SKIP() << "no groff";
  const TempFolder folder;
  folder.write("gavel.1", printed({"man"}));
  const std::string in = "cd " + (folder / "").string() + " && ";
  ASSERT_EQ(std::system((in + "groff -ww -z -man -Tascii gavel.1 > said 2>&1").c_str()), 0);
  EXPECT_EQ(read_text(folder / "said"), "");
}

TEST(Version, SaysCommitPluginAndProcessor) {
  const std::string text = printed({"--version"});
  EXPECT_THAT(text, StartsWith("gavel "));
  EXPECT_THAT(text, HasSubstr("\ncommit     0123abc (2026-01-02)\n"));
  EXPECT_THAT(text, HasSubstr("\nCPU plugin "));
  for (const char* feature : {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}) EXPECT_THAT(text, HasSubstr(feature));
  EXPECT_THAT(version_text({}), HasSubstr("\ncommit     unknown\n"));
}

}  // namespace
}  // namespace gavel
