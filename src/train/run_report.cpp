#include "train/run_report.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "recipe/recipe.h"
#include "rows/row_stream.h"
#include "setup/run_options.h"

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

std::map<int64_t, RowTexts> find_texts(const RecordedRun& run, const std::vector<int64_t>& wanted) {
  std::map<int64_t, RowTexts> found;
  try {
    Recipe recipe = parse_recipe(run.recipe, (run.folder / "recipe.yaml").string());
    const auto* file = std::get_if<std::string>(&recipe.data.valid);
    fs::path path = file != nullptr ? *file : recipe.data.train;
    std::error_code error;
    if (fs::file_size(path, error) > kMostFileBytes || error) return found;
    std::set<int64_t> rows(wanted.begin(), wanted.end());
    ReadOptions options = read_options(recipe, Purpose::kTrain);
    options.find_repeats = options.drop_duplicates = options.strict = false;
    RowStream stream(path, options);
    std::vector<PreferenceRow> block;
    while (found.size() < rows.size() && stream.next_block(block))
      for (const PreferenceRow& row : block)
        if (rows.contains(row.source_row))
          found[row.source_row] = {excerpt(row.prompt), excerpt(row.response_a), excerpt(row.response_b)};
  } catch (const Error&) {
    // The page is worth having without the texts.
  }
  return found;
}

}  // namespace

std::string run_report(const std::vector<fs::path>& folders, ReportOptions options) {
  std::vector<RecordedRun> runs;
  for (const fs::path& folder : folders) runs.push_back(read_run(folder));
  options.texts = find_texts;
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
