// gavel compare as a user runs it: an adapter beside itself, and beside a chat model, whose place a service of our own takes.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/loopback.h"
#include "cli/cli_fixture.h"
#include "http/server.h"

namespace gavel {
namespace {

using testing::HasSubstr;

/** Says that the answer which it is shown first is better. */
class AlwaysFirst final : public HttpHandler {
 public:
  std::optional<HttpAnswer> on_head(const HttpHead&) override { return std::nullopt; }
  void on_body(const HttpHead&, std::string, HttpReply reply) override {
    reply({200,
           R"({"choices":[{"message":{"content":"A"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}})",
           "application/json",
           {}});
  }
  HttpAnswer refusal(const HttpHead&, int status, const std::string& why) override {
    return {status, why, "text/plain", {}};
  }
  void on_end(const HttpHead&, int, double) override {}
};

class CompareCommand : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=3"}), 0);
  }
  std::string output_of(std::vector<std::string> arguments) const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(std::move(arguments)), 0);
    return testing::internal::GetCapturedStdout();
  }
  std::string adapter() const { return file("run").string(); }
  std::string data() const { return file("test.csv").string(); }
};

TEST_F(CompareCommand, AJudgeAgreesWithItselfAsEvalSays) {
  const auto json = nlohmann::json::parse(
      output_of({"compare", "--judge", adapter(), "--judge", adapter(), "--data", data(), "--json"}));
  EXPECT_EQ(json["pairs"], 12);
  EXPECT_EQ(json["agreement"]["agreement"], 1.0);
  EXPECT_EQ(json["agreement"]["voted"], 12);
  const auto eval = nlohmann::json::parse(
      output_of({"eval", "--adapter", adapter(), "--data", data(), "--swap-average", "1", "--json"}));
  const nlohmann::json& first = json["judges"][0];
  EXPECT_NEAR(first["log_loss"].get<double>(), eval["log_loss"].get<double>(), 1e-6);
  EXPECT_NEAR(first["accuracy"].get<double>(), eval["accuracy"].get<double>(), 1e-6);
  EXPECT_EQ(first["both_ways"], 12);
  EXPECT_FALSE(first.contains("requests"));
  EXPECT_GT(first["prompt_tokens"], 0);
  EXPECT_THAT(error_of({"compare", "--judge", adapter(), "--data", data()}), HasSubstr("expected two judges, found 1"));
  EXPECT_THAT(error_of({"compare", "--judge", adapter(), "--judge", "openai:nowhere", "--data", data()}),
              HasSubstr("expected an address"));
}

TEST_F(CompareCommand, AChatModelIsOneOfTheTwo) {
  if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  AlwaysFirst handler;
  HttpServerOptions options;
  options.port = 0;
  HttpServer server(handler, options);
  std::thread thread([&] { server.run(); });
  const std::string chat = fmt::format("openai:http://127.0.0.1:{}/v1,model=stub", server.port());
  const std::string out = file("opinions.jsonl").string();
  const auto json = nlohmann::json::parse(output_of(
      {"compare", "--judge", chat, "--judge", adapter(), "--data", data(), "--rows", "5", "--out", out, "--json"}));
  EXPECT_EQ(json["pairs"], 5);
  const nlohmann::json& first = json["judges"][0];
  EXPECT_THAT(first["judge"].get<std::string>(), HasSubstr("stub at http://127.0.0.1:"));
  EXPECT_EQ(first["flip_rate"], 1.0);
  EXPECT_EQ(first["first_share"], 1.0);
  EXPECT_EQ(first["verdicts"]["tie"], 5);
  EXPECT_EQ(first["requests"]["sent"], 10);
  EXPECT_EQ(first["completion_tokens"], 10);
  EXPECT_TRUE(json["judges"][1]["log_loss"].is_number());
  const std::string lines = read_text(out);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 5);
  EXPECT_THAT(lines, HasSubstr(R"("judges":[{"verdict":"tie","in_order":"A","exchanged":"B"})"));
  EXPECT_THAT(error_of({"compare", "--judge", chat, "--judge", chat, "--data", data(), "--out", out}),
              HasSubstr("--out"));
  // Of two chat models the file is read with settings of the command line.
  EXPECT_THAT(output_of({"compare", "--judge", chat, "--judge", chat, "--data", data(), "--one-order", "--rows", "3",
                         "data.format=lmsys"}),
              HasSubstr("the same verdict on 100.00 % of 3 pairs, Cohen's kappa –"));
  server.stop();
  thread.join();
}

}  // namespace
}  // namespace gavel
