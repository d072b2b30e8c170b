#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "judge/predict.h"
#include "report/progress.h"
#include "report/table.h"

namespace gavel {

void add_predict_command(CLI::App& app) {
  auto* command = app.add_subcommand("predict", "Judge the pairs of a file and write their probabilities");
  auto arguments = add_judge_options(*command);
  auto data = std::make_shared<std::string>(), out = std::make_shared<std::string>("submission.csv");
  auto window = std::make_shared<int64_t>(PredictOptions{}.window);
  auto restart = std::make_shared<bool>(false);
  command->add_option("--data", *data, "CSV or JSONL file of pairs, of any size; labels are not needed")->required();
  command->add_option("--out", *out,
                      "CSV to write: id,winner_model_a,winner_model_b,winner_tie, and of a reward reward_a,reward_b");
  command
      ->add_option("--window", *window, "Rows that are sorted by length and judged together, and kept when interrupted")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_flag("--restart", *restart, "Begin anew instead of going on with an interrupted call's OUT.partial");
  command->callback([=] {
    Judge judge(arguments->options());
    if (judge.temperature() != 1) spdlog::info("temperature {:.4f} (calibration.json)", judge.temperature());
    std::optional<Progress> progress;
    PredictOptions options{*data, *out, arguments->swap_average, *window, *restart};
    PredictResult result = predict_file(judge, options, [&](int64_t done, int64_t total) {
      if (!progress) progress.emplace(total, "judge", "row");
      progress->update(done);
    });
    if (progress) progress->finish();
    spdlog::info("{}", result.report.format());
    if (result.resumed_rows > 0)
      spdlog::info("{} rows were there from an interrupted call", format_count(result.resumed_rows));
    if (std::string line = flip_line(result.swapped_rows, result.flipped_rows); !line.empty()) spdlog::info("{}", line);
    spdlog::info("wrote {} rows to {}", format_count(result.rows), *out);
  });
}

}  // namespace gavel
