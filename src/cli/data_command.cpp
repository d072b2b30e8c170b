#include <fmt/format.h>

#include "cli/commands.h"
#include "base/file.h"
#include "data/sample.h"
#include "data/statistics.h"
#include "train/session.h"

namespace gavel {

namespace {

void print_statistics(const Recipe& recipe) {
  std::optional<ModelFiles> files;
  LlamaConfig config = load_config(recipe, files);
  TextEncoder encoder = make_encoder(load_tokenizer(recipe, config));
  RecipeRows rows = load_rows(recipe);
  fmt::print("{}\n{}\n", recipe.data.train, rows.train_report.format());
  if (rows.valid_report) fmt::print("{}\n{}\n", std::get<std::string>(recipe.data.valid), rows.valid_report->format());
  TokenizedDataset train = tokenize(rows.train, TokenizeOptions{encode_options(recipe)}, encoder);
  fmt::print("training rows\n{}\n", dataset_statistics(train).format());
  if (!rows.valid.empty()) {
    TokenizedDataset valid = tokenize(rows.valid, TokenizeOptions{encode_options(recipe)}, encoder);
    fmt::print("validation rows ({} share a prompt with training rows)\n{}\n", rows.shared_prompts,
               dataset_statistics(valid).format());
  }
  BatchOptions options = batch_options(recipe);
  options.swap = Swap::kNone;
  fmt::print("padding of one epoch\n{}", padding_waste(train, options).format());
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* command = app.add_subcommand("data", "Look at preference data, or make a sample of it");
  command->require_subcommand(1);

  auto* stats = command->add_subcommand("stats", "Oddities, label counts, token lengths and padding of a recipe's data");
  auto recipe = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  stats->add_option("recipe", *recipe, "Recipe file (YAML)")->required();
  stats->add_option("settings", *overrides, "section.key=value, over the recipe's own");
  stats->callback([=] { print_statistics(load_recipe(*recipe, *overrides)); });

  auto* sample = command->add_subcommand("make-sample", "Write preference pairs of Gavel's own, decided by rule");
  auto out = std::make_shared<std::string>("sample");
  auto rows = std::make_shared<int64_t>(320), test_rows = std::make_shared<int64_t>(120);
  auto seed = std::make_shared<uint64_t>(2024);
  sample->add_option("--out", *out, "Folder for train.csv and test.csv");
  sample->add_option("--rows", *rows, "Pairs in train.csv");
  sample->add_option("--test-rows", *test_rows, "Pairs in test.csv, with other prompts");
  sample->add_option("--seed", *seed, "The same seed gives the same files");
  sample->callback([=] {
    std::filesystem::path folder = *out;
    make_folder(folder);
    make_sample(folder / "train.csv", folder / "test.csv", *rows, *test_rows, *seed);
    fmt::print("wrote {} pairs to {} and {} to {}\n", *rows, (folder / "train.csv").string(), *test_rows,
               (folder / "test.csv").string());
  });
}

}  // namespace gavel
