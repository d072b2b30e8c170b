#include "setup/data_files.h"

#include <fmt/ranges.h>
#include <glob.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "rows/row_stream.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The files that a pattern matches, in the order of their names; a file's own path is itself. */
std::vector<fs::path> matching_files(const std::string& key, const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    fail("{}: {} is a folder: name the files in it, such as {}", key, path, (fs::path(path) / "*.parquet").string());
  if (path.find_first_of("*?[") == std::string::npos || fs::exists(path, ignored)) return {path};
  glob_t found{};
  const int status = ::glob(path.c_str(), 0, nullptr, &found);
  std::vector<fs::path> files(found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
  ::globfree(&found);
  std::erase_if(files, [&](const fs::path& file) { return fs::is_directory(file, ignored); });
  if (files.empty()) fail("{}: no file matches {}", key, path);
  return files;
}

/** Calls take(file, path) for every file of a list. */
template <class Take>
void each_file(const std::string& key, const DataFiles& list, Take take) {
  std::set<fs::path> seen;
  for (const DataFile& file : list.files)
    for (const fs::path& path : matching_files(key, file.path)) {
      std::error_code absent;  // is told of when the file is opened
      const fs::path canonical = fs::weakly_canonical(path, absent);
      if (!seen.insert(canonical).second)
        fail("{}: {} is in the list twice: give it once, with a weight if its rows are to count more", key,
             path.string());
      take(file, path);
    }
}

ReadOptions options_of(ReadOptions options, const DataFile& file) {
  options.format = file.format.value_or(options.format);
  options.cells = file.cells.value_or(options.cells);
  return options;
}

}  // namespace

std::vector<TrainFile> train_files(const Recipe& recipe, Purpose purpose) {
  std::vector<TrainFile> files;
  each_file("data.train", recipe.data.train, [&](const DataFile& file, const fs::path& path) {
    files.push_back({{path, options_of(training_read_options(recipe, purpose), file)}, file.weight, file.rows});
  });
  return files;
}

std::vector<DataSource> excluded_files(const Recipe& recipe) {
  std::vector<DataSource> files;
  if (!recipe.data.exclude) return files;
  each_file("data.exclude", *recipe.data.exclude, [&](const DataFile& file, const fs::path& path) {
    files.push_back({path, options_of(read_options(recipe, Purpose::kPredict), file)});
    files.back().read.find_repeats = files.back().read.drop_duplicates = files.back().read.strict = false;
  });
  return files;
}

std::optional<DataSource> valid_file(const Recipe& recipe, Purpose purpose) {
  const auto* file = std::get_if<std::string>(&recipe.data.valid);
  if (file == nullptr) return std::nullopt;
  return DataSource{*file, read_options(recipe, purpose)};
}

bool is_train_file(const Recipe& recipe, const fs::path& path) {
  try {
    const std::vector<TrainFile> files = train_files(recipe, Purpose::kPredict);
    return std::any_of(files.begin(), files.end(), [&](const TrainFile& file) {
      std::error_code ignored;
      return fs::equivalent(path, file.source.path, ignored);
    });
  } catch (const Error&) {
    return false;  // they are no longer there
  }
}

bool train_files_exist(const Recipe& recipe) {
  try {
    const std::vector<TrainFile> files = train_files(recipe, Purpose::kTrain);
    return std::all_of(files.begin(), files.end(), [](const TrainFile& file) { return fs::exists(file.source.path); });
  } catch (const Error&) {
    return false;
  }
}

bool has_votes(const Recipe& recipe) {
  for (const TrainFile& file : train_files(recipe, Purpose::kPredict))
    if (!RowStream(file.source.path, file.source.read).has_labels()) return false;
  return true;
}

std::vector<std::pair<std::string, fs::path>> data_paths(const Recipe& recipe) {
  std::vector<std::pair<std::string, fs::path>> paths;
  auto add = [&](const std::string& key, const DataFiles& list) {
    std::vector<fs::path> files;
    each_file(key, list, [&](const DataFile&, const fs::path& path) { files.push_back(path); });
    for (size_t i = 0; i < files.size(); ++i)
      paths.emplace_back(files.size() == 1 ? key : fmt::format("{}/{}", key, i + 1), files[i]);
  };
  add("data.train", recipe.data.train);
  if (const auto* valid = std::get_if<std::string>(&recipe.data.valid)) paths.emplace_back("data.valid", *valid);
  if (recipe.data.exclude) add("data.exclude", *recipe.data.exclude);
  return paths;
}

std::string train_file_settings(const Recipe& recipe) {
  std::vector<std::string> settings;
  bool plain = true;
  each_file("data.train", recipe.data.train, [&](const DataFile& file, const fs::path&) {
    std::string text = fmt::format("weight {}", file.weight);
    if (file.rows) text += fmt::format(", {} rows", *file.rows);
    if (file.format) text += fmt::format(", format {}", choice_name(*file.format));
    if (file.cells) text += fmt::format(", cells {}", choice_name(*file.cells));
    plain = plain && file == DataFile{.path = file.path};
    settings.push_back(text);
  });
  return plain ? "" : fmt::format("{}", fmt::join(settings, "; "));
}

}  // namespace gavel
