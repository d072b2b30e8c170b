#include "cli/judge_options.h"

#include "base/log.h"
#include "report/table.h"

namespace gavel {

JudgeOptions JudgeArguments::options() const {
  JudgeOptions options{adapter, std::nullopt, overrides, !no_temperature};
  if (!model.empty()) options.model = model;
  return options;
}

std::shared_ptr<JudgeArguments> add_judge_options(CLI::App& command, double swap_average) {
  auto arguments = std::make_shared<JudgeArguments>();
  arguments->swap_average = swap_average;
  command.add_option("--adapter", arguments->adapter, "Folder of a trained judge (Gavel's or PEFT's)")->required();
  command.add_option("--model", arguments->model, "Base model, when it is not where the adapter says");
  command
      .add_option("--swap-average", arguments->swap_average,
                  "Share of the pairs, the most uncertain first, that are also judged with A and B "
                  "exchanged, and the mean "
                  "taken: 0 = none, 1 = all")
      ->check(CLI::Range(0.0, 1.0));
  command.add_flag("--no-temperature", arguments->no_temperature, "Ignore the adapter's calibration.json");
  command.add_option("settings", arguments->overrides, "section.key=value, over the adapter's recipe");
  return arguments;
}

void tell_calibration(const Judge& judge, const JudgeArguments& arguments) {
  if (const Calibration* used = judge.calibration(arguments.swap_average))
    spdlog::info("calibration.json: {}", used->describe());
  if (const std::string warning = judge.calibration_warning(arguments.swap_average); !warning.empty())
    spdlog::warn("{}", warning);
}

std::string flip_line(int64_t swapped_rows, int64_t flipped_rows) {
  if (swapped_rows == 0) return "";
  return fmt::format("flip rate {:.2f} %: {} of {} rows judged both ways came out otherwise with A and B exchanged",
                     100 * static_cast<double>(flipped_rows) / static_cast<double>(swapped_rows),
                     format_count(flipped_rows), format_count(swapped_rows));
}

}  // namespace gavel
