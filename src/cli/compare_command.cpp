#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "base/terminal.h"
#include "cli/commands.h"
#include "compare/judge_pairs.h"
#include "judge/ensemble.h"
#include "judge/load_adapter.h"
#include "report/progress.h"
#include "setup/outputs.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kChat = "openai:";

struct CompareOptions {
  std::vector<std::string> judges, settings;
  std::string data, model, out;
  int64_t rows = 0;
  bool one_order = false, json = false, overwrite = false;
};

/** Either of the two. */
struct GivenJudge {
  std::string name;
  std::optional<ChatJudge> chat;
  JudgeOptions adapter;
};

GivenJudge judge_of(const std::string& text, const CompareOptions& options) {
  GivenJudge judge;
  judge.name = text;
  if (text.starts_with(kChat)) {
    judge.chat = parse_chat_judge(std::string_view(text).substr(kChat.size()));
    judge.name = fmt::format("{} at {}", judge.chat->endpoint.model, judge.chat->endpoint.url);
    return judge;
  }
  judge.adapter.adapter = text;
  if (!options.model.empty()) judge.adapter.model = options.model;
  judge.adapter.overrides = options.settings;
  return judge;
}

/** How the file is read: as the first of the judges that has a recipe says. */
ReadOptions read_options_of(const std::vector<GivenJudge>& judges, const CompareOptions& options) {
  for (const GivenJudge& judge : judges) {
    if (judge.chat) continue;
    JudgeOptions first = judge.adapter;
    if (const std::vector<fs::path> members = ensemble_members(first.adapter); !members.empty())
      first.adapter = members.front();
    return read_options(load_adapter(first).recipe, Purpose::kPredict);
  }
  std::vector<std::string> settings = {"data.train=" + options.data, "data.valid=0", "model.path=none", "output=none"};
  settings.insert(settings.end(), options.settings.begin(), options.settings.end());
  return read_options(parse_recipe("", "gavel compare", settings), Purpose::kPredict);
}

JudgedPairs judged_by(const GivenJudge& given, const std::vector<PreferenceRow>& rows, bool both_orders,
                      size_t number) {
  std::optional<Judge> judge;
  if (!given.chat) judge.emplace(given.adapter);
  Progress progress(static_cast<int64_t>(rows.size()), fmt::format("judge {}", number), "pair");
  const auto done = [&](int64_t count) { progress.update(count); };
  JudgedPairs judged =
      judge ? judge_pairs(*judge, rows, both_orders, done) : judge_pairs(*given.chat, rows, both_orders, done);
  progress.finish();
  judged.name = given.name;
  return judged;
}

void compare(const CompareOptions& options) {
  if (options.judges.size() != 2) fail("--judge: expected two judges, found {}", options.judges.size());
  std::vector<GivenJudge> judges;
  for (const std::string& text : options.judges) judges.push_back(judge_of(text, options));
  if (!options.out.empty())
    require_free_file("--out", options.out, options.overwrite, std::vector<fs::path>{options.data});
  const ReadOptions read = read_options_of(judges, options);
  if (read.format == Format::kScored)
    fail("{}: rows of single answers (data.format: scored) hold nothing to compare", options.data);
  PreferenceData data = read_preferences(options.data, read);
  if (options.rows > 0 && static_cast<size_t>(options.rows) < data.rows.size())
    data.rows.resize(static_cast<size_t>(options.rows));
  std::vector<Votes> votes;
  for (const PreferenceRow& row : data.rows)
    votes.push_back(row.has_label ? Votes({row.label[0], row.label[1], row.label[2]}) : std::nullopt);
  // The first is gone before the second opens: their models may not fit in memory together.
  const JudgedPairs first = judged_by(judges[0], data.rows, !options.one_order, 1);
  const JudgedPairs second = judged_by(judges[1], data.rows, !options.one_order, 2);
  if (!options.out.empty()) write_file(options.out, opinions_jsonl(first, second, data.rows));
  const std::string text =
      options.json
          ? comparison_json(first, second, votes).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
          : format_comparison(first, second, votes);
  fmt::print("{}", options.json ? text : printable(text, text.size()));
}

}  // namespace

void add_compare_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "compare", "Two judges on the same pairs: agreement, votes, what the order of the answers does, time and tokens");
  auto options = std::make_shared<CompareOptions>();
  command
      ->add_option("--judge", options->judges,
                   "Given twice: an adapter's folder, or openai:http://host/v1,model=NAME for a chat model; further: "
                   "prompt=FILE, key-env=VARIABLE, temperature=T|none, max-tokens=N, concurrency=N, retries=N, "
                   "timeout=SECONDS")
      ->required()
      ->expected(1)
      ->take_all();
  command->add_option("--data", options->data, "File of pairs; with votes there are accuracies too")->required();
  command->add_option("--model", options->model, "Base model, when it is not where the adapters say");
  command->add_option("--rows", options->rows, "Only the first so many pairs; 0 = all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command->add_flag("--one-order", options->one_order,
                    "Judge each pair as it stands alone, not with A and B exchanged too");
  command->add_option("--out", options->out, "File for what both said of each pair (JSON lines)");
  command->add_flag("--overwrite", options->overwrite, "Write over a file that is there");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_option("settings", options->settings, "section.key=value, such as data.format=wsdm");
  command->callback([=] { compare(*options); });
}

}  // namespace gavel
