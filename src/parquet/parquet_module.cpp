// gavel_parquet.so: Parquet files through Apache Arrow.
#include <arrow/api.h>
#include <arrow/memory_pool.h>
#include <arrow/util/float16.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "rows/parquet_file.h"

namespace gavel {

namespace {

// Few, since Arrow holds so many whole: of a text that a file has once, and a million times by reference, each is a copy.
constexpr int64_t kRowsAtOnce = 4;

void check(const arrow::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

template <class T>
T value_of(arrow::Result<T> result) {
  check(result.status());
  return std::move(result).ValueUnsafe();
}

void append_json_text(std::string_view text, std::string& out) {
  out.push_back('"');
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

void append_json(const arrow::Array& array, int64_t i, std::string& out);

template <class ListArray>
void append_list(const arrow::Array& array, int64_t i, std::string& out) {
  const auto& list = static_cast<const ListArray&>(array);
  out.push_back('[');
  for (int64_t k = list.value_offset(i); k < list.value_offset(i + 1); ++k) {
    if (k > list.value_offset(i)) out.push_back(',');
    append_json(*list.values(), k, out);
  }
  out.push_back(']');
}

template <class NumberArray>
void append_number(const arrow::Array& array, int64_t i, std::string& out) {
  auto value = static_cast<const NumberArray&>(array).Value(i);
  if (std::isfinite(static_cast<double>(value)))
    out += fmt::format("{}", value);
  else
    out += "null";
}

template <class TextArray>
void append_text(const arrow::Array& array, int64_t i, std::string& out) {
  append_json_text(static_cast<const TextArray&>(array).GetView(i), out);
}

void append_object(const arrow::Array& array, int64_t i, std::string& out) {
  const auto& parts = static_cast<const arrow::StructArray&>(array);
  out.push_back('{');
  for (int p = 0; p < parts.num_fields(); ++p) {
    if (p > 0) out.push_back(',');
    append_json_text(parts.struct_type()->field(p)->name(), out);
    out.push_back(':');
    append_json(*parts.field(p), i, out);
  }
  out.push_back('}');
}

/** Types that preference files have: texts, numbers, lists of them, messages, and times as ids. */
void append_json(const arrow::Array& array, int64_t i, std::string& out) {
  if (array.IsNull(i)) {
    out += "null";
    return;
  }
  switch (array.type_id()) {
    case arrow::Type::STRING:
      return append_text<arrow::StringArray>(array, i, out);
    case arrow::Type::LARGE_STRING:
      return append_text<arrow::LargeStringArray>(array, i, out);
    case arrow::Type::BINARY:
      return append_text<arrow::BinaryArray>(array, i, out);
    case arrow::Type::LARGE_BINARY:
      return append_text<arrow::LargeBinaryArray>(array, i, out);
    case arrow::Type::STRING_VIEW:
      return append_text<arrow::StringViewArray>(array, i, out);
    case arrow::Type::BINARY_VIEW:
      return append_text<arrow::BinaryViewArray>(array, i, out);
    case arrow::Type::FIXED_SIZE_LIST:
      return append_list<arrow::FixedSizeListArray>(array, i, out);
    case arrow::Type::LIST:
      return append_list<arrow::ListArray>(array, i, out);
    case arrow::Type::LARGE_LIST:
      return append_list<arrow::LargeListArray>(array, i, out);
    case arrow::Type::STRUCT:
      return append_object(array, i, out);
    case arrow::Type::INT8:
      return append_number<arrow::Int8Array>(array, i, out);
    case arrow::Type::INT16:
      return append_number<arrow::Int16Array>(array, i, out);
    case arrow::Type::INT32:
      return append_number<arrow::Int32Array>(array, i, out);
    case arrow::Type::INT64:
      return append_number<arrow::Int64Array>(array, i, out);
    case arrow::Type::UINT8:
      return append_number<arrow::UInt8Array>(array, i, out);
    case arrow::Type::UINT16:
      return append_number<arrow::UInt16Array>(array, i, out);
    case arrow::Type::UINT32:
      return append_number<arrow::UInt32Array>(array, i, out);
    case arrow::Type::UINT64:
      return append_number<arrow::UInt64Array>(array, i, out);
    case arrow::Type::FLOAT:
      return append_number<arrow::FloatArray>(array, i, out);
    case arrow::Type::DOUBLE:
      return append_number<arrow::DoubleArray>(array, i, out);
    case arrow::Type::HALF_FLOAT: {
      const uint16_t bits = static_cast<const arrow::HalfFloatArray&>(array).Value(i);
      const float value = arrow::util::Float16::FromBits(bits).ToFloat();
      out += std::isfinite(value) ? fmt::format("{}", value) : "null";
      return;
    }
    case arrow::Type::DECIMAL128:
      out += static_cast<const arrow::Decimal128Array&>(array).FormatValue(i);
      return;
    case arrow::Type::DECIMAL256:
      out += static_cast<const arrow::Decimal256Array&>(array).FormatValue(i);
      return;
    case arrow::Type::EXTENSION:
      return append_json(*static_cast<const arrow::ExtensionArray&>(array).storage(), i, out);
    case arrow::Type::TIME32:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
      return append_json_text(value_of(array.GetScalar(i))->ToString(), out);
    case arrow::Type::BOOL:
      out += static_cast<const arrow::BooleanArray&>(array).Value(i) ? "true" : "false";
      return;
    case arrow::Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return append_json(*coded.dictionary(), coded.GetValueIndex(i), out);
    }
    default:
      throw std::runtime_error(fmt::format(
          "expected texts, numbers, lists of them or messages, found a column of type {}", array.type()->ToString()));
  }
}

class ArrowFile final : public ParquetFile {
 public:
  ArrowFile(const char* path, size_t memory) : pool_(arrow::default_memory_pool(), static_cast<int64_t>(memory)) {
    parquet::arrow::FileReaderBuilder builder;
    parquet::ReaderProperties pages(&pool_);
    pages.enable_buffered_stream();  // else a column's whole chunk is read before its first page
    // Not mapped: a file that is cut short while it is read is then an error of Arrow's.
    check(builder.OpenFile(path, /*memory_map=*/false, pages));
    builder.memory_pool(&pool_);
    parquet::ArrowReaderProperties properties;
    properties.set_batch_size(kRowsAtOnce);
    // Else threads of Arrow's read ahead whole columns, into memory of pool_, which they may let go of when it is gone.
    properties.set_pre_buffer(false);
    properties.set_use_threads(false);
    builder.properties(properties);
    check(builder.Build(&reader_));
    check(reader_->GetSchema(&schema_));
  }

  std::vector<std::string> columns() const override { return schema_->field_names(); }

  void select(const std::vector<std::string>& columns) override {
    const parquet::SchemaDescriptor& parts = *reader_->parquet_reader()->metadata()->schema();
    std::vector<int> leaves, groups(static_cast<size_t>(reader_->num_row_groups()));
    for (int i = 0; i < parts.num_columns(); ++i)
      if (std::find(columns.begin(), columns.end(), parts.GetColumnRoot(i)->name()) != columns.end())
        leaves.push_back(i);
    std::iota(groups.begin(), groups.end(), 0);
    batches_ = value_of(reader_->GetRecordBatchReader(groups, leaves));
  }

  bool next_rows(size_t bytes, std::string& lines) override {
    bool any = false;
    while (lines.size() < bytes) {
      if (batch_ == nullptr || row_ == batch_->num_rows()) {
        row_ = 0;
        const arrow::Status read = batches_->ReadNext(&batch_);
        if (read.IsOutOfMemory())
          throw std::runtime_error(
              fmt::format("row {} or the next ones: more of the file has to be in memory at once than is allowed ({}): "
                          "write it anew with smaller cells and pages, or set data.max_cell_bytes higher",
                          rows_ + 1, read.message()));
        check(read);
        if (batch_ == nullptr) return any;
        rows_ += batch_->num_rows();
        continue;
      }
      append_row(lines);
      any = true;
    }
    return any;
  }

 private:
  void append_row(std::string& out) {
    out.push_back('{');
    for (int c = 0; c < batch_->num_columns(); ++c) {
      if (c > 0) out.push_back(',');
      append_json_text(batch_->column_name(c), out);
      out.push_back(':');
      append_json(*batch_->column(c), row_, out);
    }
    out += "}\n";
    ++row_;
  }

  arrow::CappedMemoryPool pool_;  // outlives what it gave memory to
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0;   // of the batch
  int64_t rows_ = 0;  // of the file, up to the batch's end
};

}  // namespace
}  // namespace gavel

extern "C" __attribute__((visibility("default"))) gavel::ParquetFile* gavel_open_parquet(const char* path,
                                                                                         size_t memory) {
  return new gavel::ArrowFile(path, memory);
}
