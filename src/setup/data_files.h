#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/load_dataset.h"
#include "recipe/recipe.h"

namespace gavel {

/** A file of data.train. */
struct TrainFile {
  DataSource source;
  double weight = 1;
  std::optional<int64_t> rows;
};

/** The files of data.train, patterns and folders replaced by what they match and hold. Throws Error for a pattern without a
 * file, a folder without one, and a file that is there twice. */
std::vector<TrainFile> train_files(const Recipe& recipe, Purpose purpose);
/** Those of data.exclude, to be read for their prompts. */
std::vector<DataSource> excluded_files(const Recipe& recipe);
/** The files of data.valid; none where it is a share. */
std::vector<DataSource> valid_files(const Recipe& recipe, Purpose purpose);
/** A line for every folder among these: its files, and what was skipped. */
std::vector<std::string> describe_folders(const Recipe& recipe);

/** Whether all files of data.train are there. */
bool train_files_exist(const Recipe& recipe);
/** Whether `path` is one of the files of data.train. */
bool is_train_file(const Recipe& recipe, const std::filesystem::path& path);
/** Whether all files of data.train have columns of votes. */
bool has_votes(const Recipe& recipe);

/** Files that a run's result depends on, each with a key: "data.train", of several "data.train/1", … */
std::vector<std::pair<std::string, std::filesystem::path>> data_paths(const Recipe& recipe);
/** How the files of data.train are taken beside their content, "" when it is one as it stands. */
std::string train_file_settings(const Recipe& recipe);

}  // namespace gavel
