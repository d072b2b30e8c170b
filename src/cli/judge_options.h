#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "judge/judge.h"

namespace gavel {

/** Options of the commands that use a trained judge. */
struct JudgeArguments {
  std::string adapter, model;
  std::vector<std::string> overrides;
  double swap_average = 0;
  bool no_temperature = false;

  /** Without swap_average, which is an argument of Judge::judge. */
  JudgeOptions options() const;
};

/** Adds --adapter, --model, --swap-average (with this default), --no-temperature and key=value settings to a
 * command. */
std::shared_ptr<JudgeArguments> add_judge_options(CLI::App& command, double swap_average = 0);

/** Logs what calibration the judge uses, and where it was fitted with another --swap-average. */
void tell_calibration(const Judge& judge, const JudgeArguments& arguments);

/** One line on how often the order of the answers decided; "" when no row was judged both ways. */
std::string flip_line(int64_t swapped_rows, int64_t flipped_rows);

}  // namespace gavel
