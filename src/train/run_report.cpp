#include "train/run_report.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "recipe/recipe.h"
#include "rows/column_texts.h"
#include "rows/row_stream.h"
#include "setup/data_files.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kInterval{60};
constexpr int kCostFactor = 50;                             // a page may take a fiftieth of the time
constexpr size_t kMostBytes = 700;                          // of a text in the page
constexpr uintmax_t kMostFileBytes = uintmax_t{512} << 20;  // of a data file that is searched for texts

/** Turns one below the other, cut at a letter's end. */
std::string excerpt(const std::vector<std::string>& turns) {
  std::string text;
  for (const std::string& turn : turns) {
    if (!text.empty()) text += "\n";
    text += turn;
    if (text.size() > kMostBytes) break;
  }
  if (text.size() <= kMostBytes) return text;
  size_t end = kMostBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

/** The files that validation rows are of, whose rows are counted on from one to the next; none where they are too large to be
 * searched for the sake of a page. */
std::vector<DataSource> validation_sources(const Recipe& recipe) {
  std::vector<DataSource> sources = valid_files(recipe, Purpose::kTrain);
  if (sources.empty())
    for (const TrainFile& file : train_files(recipe, Purpose::kTrain)) sources.push_back(file.source);
  uintmax_t bytes = 0;
  for (const DataSource& source : sources) bytes += fs::file_size(source.path);
  if (bytes > kMostFileBytes) sources.clear();
  return sources;
}

std::map<int64_t, RowTexts> find_texts(const RecordedRun& run, const std::vector<int64_t>& wanted) {
  std::map<int64_t, RowTexts> found;
  try {
    Recipe recipe = parse_recipe(run.recipe, (run.folder / "recipe.yaml").string());
    std::vector<DataSource> sources = validation_sources(recipe);
    if (sources.empty()) return found;
    std::set<int64_t> rows(wanted.begin(), wanted.end());
    int64_t rows_before = 0;  // rows are counted on over the files
    for (DataSource& source : sources) {
      source.read.find_repeats = source.read.drop_duplicates = source.read.strict = false;
      RowStream stream(source.path, source.read);
      std::vector<PreferenceRow> block;
      while (found.size() < rows.size() && stream.next_block(block))
        for (const PreferenceRow& row : block)
          if (const int64_t number = rows_before + row.source_row; rows.contains(number))
            found[number] = {excerpt(row.prompt), excerpt(row.response_a), excerpt(row.response_b)};
      rows_before += stream.report().rows_read;
    }
  } catch (const std::exception&) {
    // The page is worth having without the texts.
  }
  return found;
}

/** The column "subset" of the validation rows' files. */
std::vector<std::string> find_subsets(const RecordedRun& run) {
  std::vector<std::string> names, all;
  try {
    const Recipe recipe = parse_recipe(run.recipe, (run.folder / "recipe.yaml").string());
    for (const DataSource& source : validation_sources(recipe)) {
      const auto texts = column_texts(source.path, "subset", source.read);
      if (!texts) return {};
      all.insert(all.end(), texts->begin(), texts->end());
    }
    for (const JudgedRow& row : run.validation.rows) {
      if (row.row < 1 || row.row > std::ssize(all)) return {};
      names.push_back(all[static_cast<size_t>(row.row) - 1]);
    }
  } catch (const std::exception&) {
    return {};  // the page is worth having without
  }
  return names;
}

}  // namespace

std::string run_report(const std::vector<fs::path>& folders, ReportOptions options) {
  std::vector<RecordedRun> runs;
  for (const fs::path& folder : folders) runs.push_back(read_run(folder));
  options.texts = find_texts;
  options.subsets = find_subsets;
  return report_html(runs, options);
}

ReportWriter::ReportWriter(fs::path folder, std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), warn_(std::move(warn)), due_(std::chrono::steady_clock::now() + kInterval) {}

void ReportWriter::refresh() {
  if (std::chrono::steady_clock::now() >= due_) write();
}

void ReportWriter::write() {
  auto start = std::chrono::steady_clock::now();
  try {
    write_file(folder_ / "report.html", run_report({folder_}));
  } catch (const std::exception& error) {
    warn_(fmt::format("report.html is not up to date: {}", error.what()));
  }
  auto end = std::chrono::steady_clock::now();
  due_ = end + std::max<std::chrono::steady_clock::duration>(kInterval, kCostFactor * (end - start));
}

}  // namespace gavel
