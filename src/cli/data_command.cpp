#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "base/terminal.h"
#include "cli/commands.h"
#include "rows/row_stream.h"
#include "sample/sample.h"
#include "setup/data_files.h"
#include "setup/data_summary.h"
#include "setup/layout_recipe.h"
#include "setup/open_model.h"
#include "setup/outputs.h"

namespace gavel {

namespace {

struct DataOptions {
  std::string file, recipe, model = "smollm2-135m-instruct";
  std::vector<std::string> settings;
  int64_t examples = 3;
  bool json = false;
};

bool is_recipe(const std::filesystem::path& path) {
  return path.extension() == ".yaml" || path.extension() == ".yml";
}

bool names_format(const std::vector<std::string>& settings) {
  return std::ranges::any_of(settings, [](const std::string& setting) { return setting.starts_with("data.format="); });
}

/** The settings for a file whose format nobody named; tells what it was taken for, and why. */
std::vector<std::string> recognized_settings(const DataOptions& options, const Recipe& recipe) {
  const std::filesystem::path path = train_files(recipe, Purpose::kPredict).front().source.path;
  const Layout layout = recognize_layout(path);
  const std::string told = describe_layout(path.string(), layout);
  if (options.json)
    spdlog::info("{}", told);
  else
    fmt::print("{}\n", printable(told, told.size()));
  std::fflush(stdout);  // errors that follow stand behind it
  return layout_settings(layout);
}

/** Of a recipe as it stands; a data file is looked at whole. */
Recipe recipe_of(const DataOptions& options) {
  if (is_recipe(options.file)) {
    if (!options.recipe.empty()) fail("{} is a recipe: leave out --recipe {}", options.file, options.recipe);
    return load_recipe(options.file, options.settings);
  }
  std::vector<std::string> settings = {"data.train=" + options.file, "data.valid=0"};
  if (options.recipe.empty()) settings.insert(settings.end(), {"model.path=" + options.model, "output=none"});
  const auto own = static_cast<std::ptrdiff_t>(settings.size());
  settings.insert(settings.end(), options.settings.begin(), options.settings.end());
  if (!options.recipe.empty()) return load_recipe(options.recipe, settings);
  Recipe recipe = parse_recipe("", "gavel data", settings);
  if (names_format(options.settings)) return recipe;
  // What was given stands behind what was recognized, and so comes first.
  const std::vector<std::string> found = recognized_settings(options, recipe);
  settings.insert(settings.begin() + own, found.begin(), found.end());
  return parse_recipe("", "gavel data", settings);
}

/** The model is not needed when the recipe names a tokenizer. */
Tokenizer tokenizer_of(const Recipe& recipe) {
  std::optional<ModelFiles> files;
  if (!recipe.model.tokenizer) return load_tokenizer(recipe, load_config(recipe, files));
  Tokenizer tokenizer = Tokenizer::load(*recipe.model.tokenizer);
  if (!tokenizer.pad_id() && tokenizer.eos_id()) tokenizer.set_pad_id(*tokenizer.eos_id());
  return tokenizer;
}

/** Votes under the names of another format would be passed by without a word. */
void tell_other_format(const Recipe& recipe) {
  for (const TrainFile& file : train_files(recipe, Purpose::kTrain)) try {
      RowStream(file.source.path, file.source.read);
    } catch (const Error& error) {
      if (std::string_view(error.what()).find("the columns are those of data.format") != std::string_view::npos)
        spdlog::warn("no votes are read: {}", error.what());
    }
}

void show_data(const DataOptions& options) {
  Recipe recipe = recipe_of(options);
  Tokenizer tokenizer = tokenizer_of(recipe);
  // A test file has no labels, and is worth a look all the same.
  bool labels = has_votes(recipe);
  if (!labels) tell_other_format(recipe);
  RunData data = RunDataLoader(recipe, tokenizer, labels ? Purpose::kTrain : Purpose::kPredict).get();
  DataSummary summary = summarize(recipe, data, tokenizer, options.examples);
  // People may look at a stranger's rows on a terminal; JSON is for programs.
  const std::string text = options.json ? summary.to_json() + "\n" : summary.format();
  fmt::print("{}", options.json ? text : printable(text, text.size()));
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* command = app.add_subcommand("data", "Look at preference data, or make a sample of it");
  command->require_subcommand(0, 1);
  auto options = std::make_shared<DataOptions>();
  command->add_option("file", options->file,
                      "CSV, JSONL or Parquet file of judged pairs, a folder of them, or a recipe (YAML)");
  command->add_option("settings", options->settings, "section.key=value, such as data.max_length=2048 data.cells=text");
  command->add_option("--recipe", options->recipe, "Recipe whose settings hold for the file");
  command->add_option("--model", options->model, "Model whose tokenizer is used, without a recipe");
  command->add_option("--examples", options->examples, "Rows to show, from the shortest to the longest")
      ->check(CLI::Range(int64_t{0}, int64_t{1000}));
  command->add_flag("--json", options->json, "Print everything as JSON, numbers unrounded");
  command->callback([=] {
    if (!command->get_subcommands().empty()) return;
    if (options->file.empty()) throw CLI::RequiredError("file");
    show_data(*options);
  });

  auto* sample = command->add_subcommand("make-sample", "Write preference pairs of Gavel's own, decided by rule");
  auto out = std::make_shared<std::string>("sample");
  auto rows = std::make_shared<int64_t>(320), test_rows = std::make_shared<int64_t>(120);
  auto seed = std::make_shared<uint64_t>(2024);
  sample->add_option("--out", *out, "Folder for train.csv and test.csv");
  sample->add_option("--rows", *rows, "Pairs in train.csv");
  sample->add_option("--test-rows", *test_rows, "Pairs in test.csv, with other prompts");
  sample->add_option("--seed", *seed, "The same seed gives the same files");
  auto overwrite = std::make_shared<bool>(false);
  sample->add_flag("--overwrite", *overwrite, "Write over a train.csv and a test.csv that are there");
  sample->callback([=] {
    std::filesystem::path folder = *out;
    make_folder(folder);
    for (const char* name : {"train.csv", "test.csv"}) require_free_file("--out", folder / name, *overwrite, {});
    make_sample(folder / "train.csv", folder / "test.csv", *rows, *test_rows, *seed);
    fmt::print("wrote {} pairs to {} and {} to {}\n", *rows, (folder / "train.csv").string(), *test_rows,
               (folder / "test.csv").string());
  });
}

}  // namespace gavel
