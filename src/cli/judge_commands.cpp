// predict, eval and judge: the commands that use a trained judge.
#include <fmt/format.h>

#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "data/preferences.h"
#include "report/progress.h"
#include "train/judge.h"

namespace gavel {

namespace {

/** Options that the commands share. */
struct Common {
  std::string adapter, model;
  std::vector<std::string> overrides;
};

std::shared_ptr<Common> add_common(CLI::App& command) {
  auto common = std::make_shared<Common>();
  command.add_option("--adapter", common->adapter, "Folder of a trained judge (Gavel's or PEFT's)")->required();
  command.add_option("--model", common->model, "Base model, when it is not where the adapter says");
  command.add_option("settings", common->overrides, "section.key=value, over the adapter's recipe");
  return common;
}

JudgeOptions judge_options(const Common& common) {
  JudgeOptions options{common.adapter, std::nullopt, common.overrides};
  if (!common.model.empty()) options.model = common.model;
  return options;
}

struct Judged {
  PreferenceData data;
  Judgement judgement;
};

Judged judge_file(const Common& common, const std::string& path) {
  Judge judge(judge_options(common));
  Judged judged;
  judged.data = read_preferences(path, read_options(judge.recipe(), Purpose::kPredict));
  spdlog::info("{}", judged.data.report.format());
  Progress progress(static_cast<int64_t>(judged.data.rows.size()), "judge", "row");
  judged.judgement = judge.judge(judged.data.rows, [&](int64_t done) { progress.update(done); });
  progress.finish();
  return judged;
}

}  // namespace

void add_predict_command(CLI::App& app) {
  auto* command = app.add_subcommand("predict", "Judge the pairs of a file and write their probabilities");
  auto common = add_common(*command);
  auto data = std::make_shared<std::string>(), out = std::make_shared<std::string>("submission.csv");
  command->add_option("--data", *data, "CSV or JSONL file of pairs; labels are not needed")->required();
  command->add_option("--out", *out, "CSV to write: id,winner_model_a,winner_model_b,winner_tie");
  command->callback([=] {
    Judged judged = judge_file(*common, *data);
    write_submission(*out, judged.data.rows, judged.judgement);
    spdlog::info("wrote {} rows to {}", judged.data.rows.size(), *out);
  });
}

void add_eval_command(CLI::App& app) {
  auto* command = app.add_subcommand("eval", "Log loss and accuracy of a judge on labelled pairs");
  auto common = add_common(*command);
  auto data = std::make_shared<std::string>();
  command->add_option("--data", *data, "CSV or JSONL file with labels")->required();
  command->callback([=] {
    Judged judged = judge_file(*common, *data);
    if (judged.judgement.labelled_rows == 0) fail("{}: no row has a label; use `gavel predict`", *data);
    fmt::print("rows {}\nlog loss {:.6f}\naccuracy {:.6f}\n", judged.judgement.labelled_rows, judged.judgement.log_loss,
               judged.judgement.accuracy);
  });
}

void add_judge_command(CLI::App& app) {
  auto* command = app.add_subcommand("judge", "Judge one pair");
  auto common = add_common(*command);
  auto prompt = std::make_shared<std::string>(), a = std::make_shared<std::string>(), b = std::make_shared<std::string>();
  command->add_option("--prompt", *prompt, "What was asked")->required();
  command->add_option("--a", *a, "Answer A")->required();
  command->add_option("--b", *b, "Answer B")->required();
  command->callback([=] {
    Judge judge(judge_options(*common));
    PreferenceRow pair;
    pair.id = "1";
    pair.prompt = {*prompt};
    pair.response_a = {*a};
    pair.response_b = {*b};
    auto p = judge.judge({pair}).probabilities[0];
    const char* names[] = {"A is better", "B is better", "tie"};
    size_t best = 0;
    for (size_t i = 1; i < 3; ++i)
      if (p[i] > p[best]) best = i;
    fmt::print("prompt  {}\nA       {}\nB       {}\nverdict {} (A {:.1f} %, B {:.1f} %, tie {:.1f} %)\n", *prompt, *a, *b,
               names[best], 100 * p[0], 100 * p[1], 100 * p[2]);
  });
}

}  // namespace gavel
