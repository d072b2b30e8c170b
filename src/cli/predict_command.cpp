#include <nlohmann/json.hpp>

#include "base/command_line.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "judge/predict.h"
#include "judge/rank.h"
#include "report/progress.h"
#include "report/table.h"
#include "rows/row_stream.h"
#include "setup/outputs.h"
#include "train/stop_signals.h"

namespace gavel {

namespace {

constexpr size_t kPromptsAtOnce = 256;

/** What to say when a signal ends the call: how much is kept, and this call's own command to go on with. */
std::string how_to_go_on(const std::string& out) {
  const int64_t rows = rows_in_partial_file(out);
  std::string text = rows > 0 ? fmt::format("{} rows are kept in {}.partial; go on with:\n ", format_count(rows), out)
                              : "no window of rows was finished; begin again with:\n ";
  for (const std::string& argument : own_arguments())
    if (argument != "--restart") text += " " + shell_word(argument);
  return text;
}

}  // namespace

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
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, "Write over a finished file that is there");
  command->callback([=] {
    require_free_file("--out", *out, *overwrite, std::vector<std::filesystem::path>{*data, arguments->adapter});
    StopSignals signals;
    signals.advise([out] { return how_to_go_on(*out); });
    JudgeOptions judge_options = arguments->options();
    judge_options.before_device = [&](const Recipe& recipe) { RowStream(*data, predict_options(recipe, *data)); };
    Judge judge(judge_options);
    tell_calibration(judge, *arguments);
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

void add_rank_command(CLI::App& app) {
  auto* command = app.add_subcommand("rank", "Put the answers to each prompt of a JSONL file in order, by a reward");
  auto arguments = add_judge_options(*command);
  auto data = std::make_shared<std::string>(), out = std::make_shared<std::string>();
  command
      ->add_option("--data", *data, "JSONL file: {\"prompt\": text or turns, \"responses\": [texts], \"id\": optional}")
      ->required();
  command->add_option("--out", *out, "JSONL to write: {\"id\", \"rewards\", \"order\": best first, \"best\": the text}")
      ->required();
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, "Write over a file that is there");
  command->callback([=] {
    require_free_file("--out", *out, *overwrite, std::vector<std::filesystem::path>{*data, arguments->adapter});
    std::vector<Candidates> all;
    each_line(*data, [&](std::string_view line, int64_t number) { all.push_back(candidates_of(line, number)); });
    Judge judge(arguments->options());
    AtomicFile written(*out);
    Progress progress(static_cast<int64_t>(all.size()), "rank", "prompt");
    for (size_t begin = 0; begin < all.size(); begin += kPromptsAtOnce) {
      const auto part = std::span(all).subspan(begin, std::min(kPromptsAtOnce, all.size() - begin));
      const auto rewards = rewards_of(judge, part);
      for (size_t i = 0; i < part.size(); ++i)
        written.write(ranking_json(part[i], rewards[i]).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                      "\n");
      progress.update(static_cast<int64_t>(begin + part.size()));
    }
    written.commit();
    progress.finish();
    spdlog::info("wrote {} prompts to {}", format_count(static_cast<int64_t>(all.size())), *out);
  });
}

}  // namespace gavel
