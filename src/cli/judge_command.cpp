#include <unistd.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/terminal.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "judge/pair_json.h"

namespace gavel {

namespace {

constexpr size_t kMostPairs = 100'000;

/** A JSON object or list, or an object on each line. */
std::vector<PreferenceRow> pairs_from_input() {
  if (isatty(STDIN_FILENO) != 0)
    fail(
        "give --prompt, --a and --b, or JSON on standard input: {{\"prompt\": …, \"response_a\": …, "
        "\"response_b\": …}}");
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  try {
    return pairs_from_json(text, kMostPairs);
  } catch (const Error& whole) {
    size_t first_end = text.find('\n');
    bool lines = first_end != std::string::npos && text.find_first_not_of(" \t\r\n", first_end) != std::string::npos &&
                 nlohmann::json::accept(text.substr(0, first_end));
    if (!lines) fail("standard input: {}", whole.what());
  }
  std::vector<PreferenceRow> rows;
  size_t at = 0;
  for (int64_t number = 1; at < text.size(); ++number) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      for (PreferenceRow& row : pairs_from_json(line, kMostPairs)) {
        if (row.id == "1") row.id = std::to_string(number);
        rows.push_back(std::move(row));
      }
    } catch (const Error& error) {
      fail("standard input, line {}: {}", number, error.what());
    }
  }
  return rows;
}

std::string joined(const std::vector<std::string>& turns) {
  std::string text;
  for (const std::string& turn : turns) text += (text.empty() ? "" : "\n        ") + turn;
  return text;
}

}  // namespace

void add_judge_command(CLI::App& app) {
  auto* command = app.add_subcommand("judge", "Judge one pair, or pairs in JSON from standard input");
  auto arguments = add_judge_options(*command);
  auto prompt = std::make_shared<std::string>(), a = std::make_shared<std::string>(),
       b = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  auto* prompt_option = command->add_option("--prompt", *prompt, "What was asked");
  auto* a_option = command->add_option("--a", *a, "Answer A");
  auto* b_option = command->add_option("--b", *b, "Answer B");
  prompt_option->needs(a_option)->needs(b_option);
  a_option->needs(prompt_option);
  b_option->needs(prompt_option);
  command->add_flag("--json", *as_json, "Print a JSON object for each pair");
  command->footer(
      "Without --prompt, --a and --b pairs are read from standard input: an object {\"prompt\", "
      "\"response_a\", \"response_b\"},\n"
      "each a text or a list of turns, or a list of such objects, or one on each line.");
  command->callback([=] {
    std::vector<PreferenceRow> rows;
    if (prompt_option->count() > 0) {
      PreferenceRow& row = rows.emplace_back();
      row.id = "1";
      row.prompt = {*prompt};
      row.response_a = {*a};
      row.response_b = {*b};
    } else {
      rows = pairs_from_input();
    }
    Judge judge(arguments->options());
    tell_calibration(judge, *arguments);
    auto verdicts = judge.judge(rows, arguments->swap_average);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (*as_json) {
        fmt::print("{}\n",
                   verdict_json(rows[i], verdicts[i]).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        continue;
      }
      const auto& p = verdicts[i].probabilities;
      const auto shown = [](const std::string& text) { return printable(text, text.size()); };
      fmt::print("prompt  {}\nA       {}\nB       {}\nverdict {} (A {:.1f} %, B {:.1f} %, tie {:.1f} %{})\n",
                 shown(joined(rows[i].prompt)), shown(joined(rows[i].response_a)), shown(joined(rows[i].response_b)),
                 outcome_name(verdicts[i].best()), 100 * p[0], 100 * p[1], 100 * p[2],
                 !verdicts[i].swapped_logits ? ""
                 : verdicts[i].flipped()     ? "; the order of the answers decides"
                                             : "; the same with A and B exchanged");
      if (const auto& rewards = verdicts[i].rewards)
        fmt::print("rewards A {:.4f}, B {:.4f}\n", (*rewards)[0], (*rewards)[1]);
    }
  });
}

}  // namespace gavel
