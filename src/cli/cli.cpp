#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>

#include "base/command_line.h"
#include "base/error.h"
#include "base/log.h"
#include "base/terminal.h"
#include "cli/commands.h"
#include "cli/run_cli.h"
#include "usage/commands.h"
#include "usage/complete.h"

namespace gavel {

namespace {

constexpr const char* kNotWritten = "standard output can't be written, so what was to be said is not complete";

/** Every error of the program goes through here. Texts of files may be in it, so a terminal gets nothing to act on. */
void say_error(std::string_view text) {
  const std::string line = fmt::format("error: {}\n", printable(text));
  std::fwrite(line.data(), 1, line.size(), stderr);
}

/** A reader that went away, as `head` does, has what it wanted. */
bool reader_is_gone() {
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

/** Options of a command as they are written. */
void add_flags(const CLI::App& command, std::vector<std::string>& flags) {
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
}

/** For each flag of the arguments that no command given knows and that is near one: "--vesion (did you mean '--version'?)". */
std::string misspelt_flags(const CLI::App& app, int argc, const char* const* argv) {
  std::vector<std::string> flags;
  add_flags(app, flags);
  for (const CLI::App* command : app.get_subcommands()) {
    add_flags(*command, flags);
    for (const CLI::App* below : command->get_subcommands()) add_flags(*below, flags);
  }
  std::string out;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string flag(argument.substr(0, argument.find('=')));
    if (!flag.starts_with('-') || std::ranges::find(flags, flag) != flags.end()) continue;
    if (const std::string hint = did_you_mean(flag, flags); !hint.empty()) out += fmt::format("{}{}\n", flag, hint);
  }
  return out;
}

}  // namespace

int run_cli(int argc, const char* const* argv_given, const BuildInfo& build) {
  // A shell expands "~" only at a word's beginning.
  std::vector<std::string> arguments;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv_given[i];
    const size_t equals = argument.starts_with("--") ? argument.find('=') : std::string_view::npos;
    arguments.push_back(equals == std::string_view::npos
                            ? std::string(argument)
                            : std::string(argument.substr(0, equals + 1)) + expand_home(argument.substr(equals + 1)));
  }
  std::vector<const char*> words;
  for (const std::string& argument : arguments) words.push_back(argument.c_str());
  const char* const* argv = words.data();
  CLI::App app("Gavel trains a language model to judge which of two chatbot answers a person prefers, and judges.",
               "gavel");
  app.require_subcommand(1);
  app.set_version_flag(
      "--version,-V", [&build] { return version_text(build); },
      "Print version, commit, CPU plugin and what the processor can do");
  app.option_defaults()->always_capture_default();
  app.get_formatter()->column_width(34);
  bool quiet = false;
  app.add_flag("--quiet", quiet, "Only warnings, errors and results");
  add_demo_command(app);
  add_train_command(app);
  add_folds_command(app);
  add_sweep_command(app);
  add_predict_command(app);
  add_eval_command(app);
  add_rank_command(app);
  add_compare_command(app);
  add_judge_command(app);
  add_report_command(app);
  add_merge_command(app);
  add_average_command(app);
  add_serve_command(app);
  add_data_command(app);
  add_tokenize_command(app);
  add_bench_command(app);
  add_parity_command(app);
  add_export_command(app);
  add_plan_command(app);
  add_doctor_command(app);
  add_usage_commands(app, build);
  // --quiet may stand after the command too.
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) command->fallthrough();
  // Words of a command line that is not finished: not to be parsed.
  if (argc > 1 && std::string_view(argv_given[1]) == kCompleteCommand) {
    fmt::print("{}", completion_lines(complete(app, {argv_given + 2, argv_given + argc})));
    return 0;
  }
  app.parse_complete_callback([&] { setup_logging(quiet); });
  // CLI11 would only say that a subcommand is required.
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    names.push_back(command->get_name());
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;
    if (std::find(names.begin(), names.end(), argv[i]) != names.end()) break;
    say_error(fmt::format("there is no command '{}'{}; see gavel --help", argv[i], did_you_mean(argv[i], names)));
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();  // a command's own status, such as 128 and the signal that stopped it
  } catch (const CLI::ParseError& error) {
    // Help and the version come this way too. The library has a number for each kind of mistake; 2 is what shells expect.
    if (app.exit(error) != 0) {
      std::fputs(misspelt_flags(app, argc, argv).c_str(), stderr);
      return 2;
    }
  } catch (const Error& error) {
    say_error(error.what());
    return 1;
  } catch (const std::bad_alloc&) {
    say_error("out of memory; try a smaller batch, max_length or model");
    return 1;
  } catch (const std::exception& error) {
    if (std::ferror(stdout) != 0 && !reader_is_gone()) {
      say_error(kNotWritten);  // as fmt::print tells it
      return 1;
    }
    say_error(fmt::format("{} (this should have been a clearer message: please report it)", error.what()));
    return 1;
  }
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout;
  if (!written && !reader_is_gone()) {
    say_error(kNotWritten);
    return 1;
  }
  return 0;
}

}  // namespace gavel
