#include "setup/check_inputs.h"

#include <fmt/ranges.h>

#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "files/open_table.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "rows/row_stream.h"
#include "setup/data_files.h"
#include "setup/layout_recipe.h"
#include "setup/open_device.h"
#include "setup/open_model.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

void check_model(const Recipe& recipe) {
  fetch_base_model(recipe);
  // A name that is no path is looked up where the built-in shapes are.
  if (recipe.model.random_init && !fs::exists(recipe.model.path)) return;  // its config is fetched by now
  // Says what is expected there.
  if (!fs::exists(resolve_model_path(recipe.model.path))) ModelFiles::open(recipe.model.path);
}

/** Opening shows missing columns; a packed file would have to be unpacked for it. */
void check_data(const DataSource& source) {
  if (is_packed_name(source.path)) {
    MappedFile::open(source.path);
    return;
  }
  RowStream(source.path, source.read);
  if (const std::string doubt = doubt_about_layout(source.path, source.read); !doubt.empty()) spdlog::warn("{}", doubt);
}

void check_there(const std::string& path) {
  if (!fs::exists(path)) fail("{}: is not there", path);
}

}  // namespace

void check_inputs(const Recipe& recipe) {
  std::vector<std::string> problems;
  auto look = [&](std::string_view key, auto check) {
    try {
      check();
    } catch (const Error& error) {
      const std::string_view text = error.what();
      problems.push_back(text.starts_with(key) ? std::string(text) : fmt::format("{}: {}", key, text));
    }
  };
  look("model.path", [&] { check_model(recipe); });
  if (recipe.model.tokenizer) look("model.tokenizer", [&] { check_there(*recipe.model.tokenizer); });
  // A run that goes on has its adapter in the checkpoint.
  if (recipe.lora.init_adapter && recipe.train.resume == Recipe::Resume::kNever)
    look("lora.init_adapter", [&] { check_there(*recipe.lora.init_adapter); });
  std::vector<TrainFile> files;
  look("data.train", [&] { files = train_files(recipe, Purpose::kTrain); });
  for (const TrainFile& file : files) look("data.train", [&] { check_data(file.source); });
  look("data.valid", [&] {
    for (const DataSource& source : valid_files(recipe, Purpose::kTrain)) check_data(source);
  });
  look("data.exclude", [&] {
    for (const DataSource& source : excluded_files(recipe)) check_data(source);
  });
  if (recipe.mesh.rules) look("mesh.rules", [&] { check_there(*recipe.mesh.rules); });
  if (const std::string missing = missing_hardware(recipe.device); !missing.empty())
    problems.push_back(fmt::format("device: {}: {}", recipe.device, missing));
  if (!problems.empty()) throw Error(fmt::format("{}", fmt::join(problems, "\n")));
}

}  // namespace gavel
