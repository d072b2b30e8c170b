#include "setup/data_files.h"

#include <fmt/ranges.h>
#include <glob.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "files/open_table.h"
#include "rows/row_stream.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** What a folder has, as its names are ordered; folders in it have a / at the end. */
struct FolderContent {
  std::vector<fs::path> files;
  std::vector<std::string> skipped;
};

bool is_data_name(const fs::path& path) {
  // What `datasets` keeps beside its data.
  for (const char* name : {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
    if (path.filename() == name) return false;
  const std::string extension = table_extension(path);
  for (const char* known : {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"})
    if (extension == known) return !path.filename().string().starts_with('.');
  return false;
}

FolderContent content_of(const std::string& key, const fs::path& folder) {
  FolderContent out;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file() && is_data_name(entry.path()))
        out.files.push_back(entry.path());
      else
        out.skipped.push_back(entry.is_directory() ? name + "/" : name);
    }
  } catch (const fs::filesystem_error& error) {
    fail("{}: {}: can't be read: {}", key, folder.string(), error.code().message());
  }
  std::sort(out.files.begin(), out.files.end());
  std::sort(out.skipped.begin(), out.skipped.end());
  return out;
}

std::string list_first(const std::vector<std::string>& names) {
  constexpr size_t kMostNames = 8;
  return fmt::format("{}{}", fmt::join(names.begin(), names.begin() + std::min(names.size(), kMostNames), ", "),
                     names.size() > kMostNames ? fmt::format(" and {} more", names.size() - kMostNames) : "");
}

/** The data files in a folder, those that a pattern matches, in the order of their names; a file's own path is itself. */
std::vector<fs::path> matching_files(const std::string& key, const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    FolderContent content = content_of(key, path);
    if (content.files.empty())
      fail("{}: {} is a folder without data: expected files named .csv, .tsv, .jsonl, .ndjson, .json or .parquet{}",
           key, path, content.skipped.empty() ? "; it is empty" : ", found " + list_first(content.skipped));
    return std::move(content.files);
  }
  if (path.find_first_of("*?[") == std::string::npos || fs::exists(path, ignored)) return {path};
  glob_t found{};
  const int status = ::glob(path.c_str(), 0, nullptr, &found);
  std::vector<fs::path> files(found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
  ::globfree(&found);
  std::erase_if(files, [&](const fs::path& file) { return fs::is_directory(file, ignored); });
  if (files.empty()) fail("{}: no file matches {}", key, path);
  return files;
}

/** data.valid as a list. */
DataFiles valid_list(const Recipe& recipe) {
  const auto* path = std::get_if<std::string>(&recipe.data.valid);
  return path == nullptr ? DataFiles() : DataFiles(*path);
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

std::vector<DataSource> valid_files(const Recipe& recipe, Purpose purpose) {
  std::vector<DataSource> files;
  each_file("data.valid", valid_list(recipe),
            [&](const DataFile&, const fs::path& path) { files.push_back({path, read_options(recipe, purpose)}); });
  return files;
}

std::vector<std::string> describe_folders(const Recipe& recipe) {
  std::vector<std::string> lines;
  auto add = [&](const std::string& key, const DataFiles& list) {
    for (const DataFile& file : list.files) {
      std::error_code ignored;
      if (!fs::is_directory(file.path, ignored)) continue;
      const FolderContent content = content_of(key, file.path);
      std::vector<std::string> names;
      for (const fs::path& path : content.files) names.push_back(path.filename().string());
      std::string line = fmt::format("{}: {}: {} file{}: {}", key, file.path, names.size(),
                                     names.size() == 1 ? "" : "s", list_first(names));
      if (!content.skipped.empty()) line += fmt::format("; skipped: {}", list_first(content.skipped));
      lines.push_back(std::move(line));
    }
  };
  add("data.train", recipe.data.train);
  add("data.valid", valid_list(recipe));
  if (recipe.data.exclude) add("data.exclude", *recipe.data.exclude);
  return lines;
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
  add("data.valid", valid_list(recipe));
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
