// `gavel data` with a file whose format nobody named, and training with another one's.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/cli_fixture.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Layouts : public Cli {
 protected:
  std::string output_of(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"data"});
    arguments.insert(arguments.end(), {"--model", model().string(), "data.max_length=48"});
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(arguments), 0);
    return testing::internal::GetCapturedStdout();
  }
  std::string conversations() const {
    std::string text;
    for (int i = 0; i < 24; ++i) {
      auto talk = [&](const char* answer) {
        return fmt::format(R"([{{"role": "user", "content": "Is {} odd?"}}, {{"role": "assistant", "content": "{}"}}])",
                           i, answer);
      };
      text += fmt::format(R"({{"conversation_a": {}, "conversation_b": {}, "winner": "{}"}})", talk("yes"), talk("no"),
                          i % 2 == 1 ? "model_a" : "model_b") +
              "\n";
    }
    write_file(file("votes.jsonl"), text);
    return file("votes.jsonl").string();
  }
};

TEST_F(Layouts, DataTellsTheFormatAndTheRecipesLines) {
  const std::string path = conversations();
  const std::string text = output_of({path});
  EXPECT_THAT(text, StartsWith(path + ": read as data.format: conversations, told by its columns conversation_a, "
                                      "conversation_b, winner\ndata: {format: conversations}\n"));
  EXPECT_THAT(text, AllOf(HasSubstr("24 rows read, 24 kept"), HasSubstr("A wins, 1 round")));
  EXPECT_THAT(output_of({path, "data.format=conversations"}), Not(HasSubstr("read as")));
  EXPECT_EQ(nlohmann::json::parse(output_of({path, "--json"}))["train"]["rows"], 24);
  write_file(file("own.csv"), "question,answer_1,answer_2,better\n[1],a,b,A\n[2],c,d,B\n");
  EXPECT_THAT(
      output_of({file("own.csv").string()}),
      HasSubstr("data: {format: generic, columns: {prompt: question, response_a: answer_1, response_b: answer_2, "
                "winner: better}, cells: text}"));
  write_file(file("scores.csv"), "prompt,response,score\np,a,0.5\nq,b,1\n");
  EXPECT_THAT(output_of({file("scores.csv").string()}),
              AllOf(HasSubstr("reward: {loss: regression}"), HasSubstr("2 rows")));
  EXPECT_THAT(error_of({"data", file("recipe.yaml").string(), "data.train=" + path}),
              HasSubstr("data.format: conversations"));
}

TEST_F(Layouts, TrainingNamesTheFormatThatFits) {
  const std::string train = "data.train=" + conversations();
  EXPECT_THAT(train_error({train}), AllOf(HasSubstr("votes.jsonl: row 1: expected a key 'winner_model_a'"),
                                          HasSubstr("the columns are those of data.format: conversations")));
  EXPECT_EQ(run({"train", file("recipe.yaml").string(), train, "data.format=conversations", "data.valid=0.2",
                 "train.max_steps=1", "train.warmup_steps=0"}),
            0);
}

}  // namespace
}  // namespace gavel
