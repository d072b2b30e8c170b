#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/own_files.h"
#include "rows/choices.h"
#include "rows/json_row.h"
#include "rows/parquet_file.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** gavel_parquet.so, and Apache Arrow's libraries that it needs where they were fetched since it was built. */
OpenParquetFile load_module(const std::string& file) {
  const auto path = own_library("gavel_parquet.so");
  const std::string or_convert = fmt::format(
      "or convert the file: python3 -c \"import pandas; pandas.read_parquet('{}').to_json('{}', orient='records', "
      "lines=True)\"",
      file, fs::path(file).replace_extension(".jsonl").string());
  if (!path) fail("{}: this build reads no Parquet: call `make parquet` in Gavel's folder, once, {}", file, or_convert);
  if (const fs::path packages = cache_folder("packages"); !packages.empty()) {
    std::error_code ignored;
    std::vector<fs::path> libraries;
    for (const auto& entry : fs::directory_iterator(packages / "pyarrow" / "pyarrow", ignored))
      if (entry.path().filename().string().find(".so.") != std::string::npos) libraries.push_back(entry.path());
    std::ranges::sort(libraries);  // libarrow before libparquet, which needs it
    for (const fs::path& library : libraries) ::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  }
  void* handle = ::dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    fail("{}: can't be read without Apache Arrow ({}): call `gavel doctor --fetch parquet`, once, {}", file,
         ::dlerror(), or_convert);
  void* symbol = ::dlsym(handle, "gavel_open_parquet");
  if (symbol == nullptr) fail("{}: {} is of another build", file, path->string());
  return reinterpret_cast<OpenParquetFile>(symbol);
}

/** Arrow's messages lack the file's name. */
template <class Action>
void name_in_errors(const std::string& path, Action&& action) {
  try {
    action();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("{}: can't be read as Parquet: {}", path, error.what());
  }
}

std::unique_ptr<ParquetFile> open_parquet(const std::string& path, int64_t max_cell_bytes = kMostCellBytes) {
  // Some cells of the size that is allowed, packed and unpacked, and the usual pages of all columns.
  const size_t memory = (size_t{1} << 30) + 8 * static_cast<size_t>(max_cell_bytes);
  std::unique_ptr<ParquetFile> file;
  name_in_errors(path, [&] { file.reset(load_module(path)(path.c_str(), memory)); });
  return file;
}

class ParquetRows final : public RowSource {
 public:
  ParquetRows(std::shared_ptr<const MappedFile> file, const ReadOptions& options)
      : path_(file->path().string()),
        options_(options),
        size_(file->bytes().size()),
        file_(open_parquet(path_, options.max_cell_bytes)) {
    std::vector<std::string> header = file_->columns(), wanted;
    const detail::ColumnNames names = detail::column_names(options, header);
    auto index = detail::find_columns(path_, names, options, header);
    for (size_t c = 0; c < kNumColumns; ++c)
      if (index[c] >= 0) wanted.push_back(names[c]);
    name_in_errors(path_, [&] { file_->select(wanted); });
    has_labels_ = options.format == Format::kChosen || detail::labels_found(index);
    parser_.emplace(path_, options, names, has_labels_);
  }

  bool next_rows(size_t bytes, std::vector<RawRow>& rows) override {
    lines_.clear();
    bool any = false;
    name_in_errors(path_, [&] { any = file_->next_rows(bytes, lines_); });
    std::string_view rest = lines_;
    while (!rest.empty()) {
      size_t end = rest.find('\n');
      RawRow& raw = rows.emplace_back();
      raw.row = ++row_;
      raw.line = rest.substr(0, end);
      detail::check_size(path_, raw.row, "", raw.line.size(), options_);
      rest.remove_prefix(end + 1);
    }
    if (!any) at_end_ = true;
    return any;
  }

  void parse(const RawRow& raw, ParsedRow& out) const override { parser_->parse(raw, out); }
  bool has_labels() const override { return has_labels_; }
  // Rows are spread over the columns' places in the file: there is no position before the end.
  size_t offset() const override { return at_end_ ? size_ : 0; }
  size_t size() const override { return size_; }
  void release() override {}

 private:
  std::string path_;
  ReadOptions options_;
  size_t size_ = 0;
  std::unique_ptr<ParquetFile> file_;
  std::optional<JsonRowParser> parser_;
  std::string lines_;
  int64_t row_ = 0;
  bool has_labels_ = false, at_end_ = false;
};

}  // namespace

std::unique_ptr<RowSource> open_parquet_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options) {
  return std::make_unique<ParquetRows>(std::move(file), options);
}

std::vector<std::string> parquet_columns(std::shared_ptr<const MappedFile> file) {
  return open_parquet(file->path().string())->columns();
}

}  // namespace gavel
