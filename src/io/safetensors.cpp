#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

namespace gavel {

using PlainJson = nlohmann::json;

namespace {

constexpr size_t kMaxHeader = size_t{100} << 20;  // the format's own limit

constexpr std::array<std::pair<std::string_view, DType>, 13> kDTypes = {{{"BOOL", DType::kBool},
                                                                         {"U8", DType::kU8},
                                                                         {"I8", DType::kI8},
                                                                         {"U16", DType::kU16},
                                                                         {"I16", DType::kI16},
                                                                         {"U32", DType::kU32},
                                                                         {"I32", DType::kI32},
                                                                         {"U64", DType::kU64},
                                                                         {"I64", DType::kI64},
                                                                         {"F16", DType::kF16},
                                                                         {"BF16", DType::kBF16},
                                                                         {"F32", DType::kF32},
                                                                         {"F64", DType::kF64}}};

/** The format's other types, which only tensors that nobody reads may have, and their bits. */
constexpr std::array<std::pair<std::string_view, uint64_t>, 9> kOtherTypes = {{{"F8_E4M3", 8},
                                                                               {"F8_E5M2", 8},
                                                                               {"F8_E8M0", 8},
                                                                               {"F8_E4M3FNUZ", 8},
                                                                               {"F8_E5M2FNUZ", 8},
                                                                               {"F6_E2M3", 6},
                                                                               {"F6_E3M2", 6},
                                                                               {"F4", 4},
                                                                               {"C64", 64}}};

constexpr int kMaxDepth = 8;

/** Sees what parsing to an object hides or can't bear: a tensor's name given twice, and deep nesting. A pass
 * of its own, because a parser callback makes nlohmann's parser take time quadratic in the number of names.
 */
class HeaderNames : public nlohmann::json_sax<PlainJson> {
 public:
  explicit HeaderNames(std::string file) : file_(std::move(file)) {}
  bool key(string_t& name) override {
    if (depth_ == 1 && !seen_.insert(name).second) fail("{}: tensor '{}' stands in the header twice", file_, name);
    return true;
  }
  bool start_object(size_t) override { return deeper(); }
  bool start_array(size_t) override { return deeper(); }
  bool end_object() override { return --depth_ >= 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&, const PlainJson::exception& error) override {
    fail("{}: the header is not valid JSON: {}", file_, error.what());
  }

 private:
  bool deeper() {
    if (++depth_ > kMaxDepth) fail("{}: the header is nested too deeply", file_);
    return true;
  }

  std::string file_;
  std::set<std::string> seen_;
  int depth_ = 0;
};

}  // namespace

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  std::shared_ptr<SafetensorsFile> opened(new SafetensorsFile());
  opened->file_ = MappedFile::open(path);
  refuse_lfs_pointer(opened->file_->text(), path);
  auto bytes = opened->file_->bytes();
  if (bytes.size() < 8)
    fail("{}: not a safetensors file: {} bytes, expected at least 8; is the download complete?", path.string(),
         bytes.size());
  uint64_t header = 0;
  for (size_t i = 0; i < 8; ++i) header |= uint64_t{bytes[i]} << (8 * i);
  if (header > kMaxHeader || header > bytes.size() - 8)
    fail("{}: the header claims {} bytes, the file has {}; it is cut short or not a safetensors file", path.string(),
         header, bytes.size());
  opened->data_begin_ = 8 + static_cast<size_t>(header);
  opened->parse_header(opened->file_->text().substr(8, static_cast<size_t>(header)));
  opened->check_ranges();
  return opened;
}

void SafetensorsFile::parse_header(std::string_view header) {
  std::string file = path().string();
  HeaderNames names(file);
  PlainJson::sax_parse(header, &names);
  PlainJson json;
  try {
    json = PlainJson::parse(header);
  } catch (const PlainJson::exception& error) {
    fail("{}: the header is not valid JSON: {}", file, error.what());
  }
  if (!json.is_object()) fail("{}: the header is not a JSON object", file);
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      if (entry.is_null()) continue;
      if (!entry.is_object()) fail("{}: __metadata__ is not an object", file);
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) fail("{}: __metadata__ '{}' is not a text", file, key);
        metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    auto complain = [&](std::string_view what) { fail("{}: tensor '{}': {}", file, name, what); };
    auto counts = [&](const char* key) {
      std::vector<uint64_t> values;
      if (!entry.contains(key) || !entry[key].is_array()) complain(fmt::format("'{}' is missing or not a list", key));
      for (const auto& value : entry[key]) {
        if (!value.is_number_unsigned())
          complain(fmt::format("'{}' holds {}, expected whole numbers", key,
                               value.is_structured() ? std::string(value.type_name()) : value.dump()));
        values.push_back(value.get<uint64_t>());
      }
      return values;
    };
    if (!entry.is_object()) complain("its entry is not an object");
    if (!entry.contains("dtype") || !entry["dtype"].is_string()) complain("'dtype' is missing or not a text");
    TensorInfo info;
    info.type = entry["dtype"].get<std::string>();
    auto named = [&](const auto& d) { return d.first == info.type; };
    auto known = std::find_if(kDTypes.begin(), kDTypes.end(), named);
    auto other = std::find_if(kOtherTypes.begin(), kOtherTypes.end(), named);
    if (known != kDTypes.end())
      info.dtype = known->second;
    else if (other == kOtherTypes.end())
      complain(fmt::format("dtype '{}' is not known", info.type));
    uint64_t size = info.dtype ? 8 * byte_size(*info.dtype) : other->second;  // in bits
    for (uint64_t dimension : counts("shape")) {
      if (dimension > (uint64_t{1} << 40) || __builtin_mul_overflow(size, dimension, &size))
        complain(fmt::format("dimension {} is too large", dimension));
      info.shape.push_back(static_cast<int64_t>(dimension));
    }
    if (size % 8 != 0)
      complain(fmt::format("shape {} of {} is no whole number of bytes", gavel::to_string(info.shape), info.type));
    size /= 8;
    auto offsets = counts("data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) complain("'data_offsets' must be [begin, end]");
    size_t available = file_->bytes().size() - data_begin_;
    if (offsets[1] > available)
      complain(
          fmt::format("its data ends at byte {}, the file holds {}; is the download complete?", offsets[1], available));
    if (offsets[1] - offsets[0] != size)
      complain(fmt::format("shape {} of {} needs {} bytes, 'data_offsets' span {}", gavel::to_string(info.shape),
                           info.type, size, offsets[1] - offsets[0]));
    info.begin = offsets[0];
    info.end = offsets[1];
    tensors_.emplace(name, std::move(info));
  }
}

void SafetensorsFile::check_ranges() const {
  std::vector<std::pair<const TensorInfo*, const std::string*>> sorted;
  for (const auto& [name, info] : tensors_) sorted.emplace_back(&info, &name);
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  size_t at = 0;
  for (const auto& [info, name] : sorted) {
    if (info->begin < at) fail("{}: tensor '{}' overlaps another one", path().string(), *name);
    if (info->begin > at)
      fail("{}: {} bytes before tensor '{}' belong to no tensor", path().string(), info->begin - at, *name);
    at = info->end;
  }
  if (size_t size = file_->bytes().size() - data_begin_; at != size)
    fail("{}: the tensors end at byte {}, the data at {}", path().string(), at, size);
}

HostTensor SafetensorsFile::tensor(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, info] : tensors_) names.push_back(known);
    fail("{}: no tensor '{}'{}", path().string(), name, did_you_mean(name, names));
  }
  const TensorInfo& info = found->second;
  if (!info.dtype) fail("{}: tensor '{}' holds {}, which is not supported", path().string(), name, info.type);
  const uint8_t* data = file_->bytes().data() + data_begin_ + info.begin;
  // Files pad their header, so data is aligned; copy when one does not.
  if (reinterpret_cast<uintptr_t>(data) % byte_size(*info.dtype) != 0) {
    HostTensor copy(*info.dtype, info.shape);
    std::memcpy(copy.mutable_data(), data, copy.bytes());
    return copy;
  }
  return HostTensor(*info.dtype, info.shape, data, file_);
}

void SafetensorsFile::release(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found != tensors_.end())
    file_->release(data_begin_ + found->second.begin, found->second.end - found->second.begin);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, HostTensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorToWrite> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.dtype(), tensor.shape()});
  size_t next = 0;
  write_safetensors(path, specs, [&](const TensorToWrite&) { return tensors[next++].second; }, metadata);
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::function<HostTensor(const TensorToWrite&)>& read,
                       const std::map<std::string, std::string>& metadata) {
  // Written in the order given, hence not by a map.
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + PlainJson(metadata).dump();
  size_t at = 0;
  std::set<std::string> names;
  for (const auto& [name, dtype, shape] : tensors) {
    if (name == "__metadata__" || !names.insert(name).second) fail("{}: tensor '{}' given twice", path.string(), name);
    auto known = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& d) { return d.second == dtype; });
    size_t end = at + static_cast<size_t>(num_elements(shape)) * byte_size(dtype);
    PlainJson entry = {{"dtype", std::string(known->first)}, {"shape", shape}, {"data_offsets", {at, end}}};
    text += fmt::format("{}{}:{}", text.size() > 1 ? "," : "", PlainJson(name).dump(), entry.dump());
    at = end;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  std::array<uint8_t, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(text.size() >> (8 * i));
  AtomicFile file(path);
  file.write(length.data(), length.size());
  file.write(text);
  for (const TensorToWrite& spec : tensors) {
    HostTensor tensor = read(spec);
    if (tensor.dtype() != spec.dtype || tensor.shape() != spec.shape)
      fail("{}: tensor '{}' is {} {}, expected {} {}", path.string(), spec.name, dtype_name(tensor.dtype()),
           to_string(tensor.shape()), dtype_name(spec.dtype), to_string(spec.shape));
    file.write(tensor.data(), tensor.bytes());
  }
  file.commit();
}

}  // namespace gavel
