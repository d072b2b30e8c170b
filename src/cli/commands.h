#pragma once
#include <CLI/CLI.hpp>

namespace gavel {

// Each adds one subcommand with its options; its work runs as a callback of parsing the command line. A command that
// ends with an exit status of its own throws CLI::RuntimeError.

void add_demo_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_folds_command(CLI::App& app);
void add_sweep_command(CLI::App& app);
void add_predict_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_rank_command(CLI::App& app);
void add_compare_command(CLI::App& app);
void add_judge_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_merge_command(CLI::App& app);
void add_average_command(CLI::App& app);
void add_serve_command(CLI::App& app);
void add_data_command(CLI::App& app);
void add_tokenize_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_parity_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_doctor_command(CLI::App& app);

}  // namespace gavel
