#include "io/model_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/file.h"
#include "base/half.h"
#include "base/json_text.h"
#include "base/parallel.h"
#include "io/gguf.h"
#include "io/gguf_blocks.h"
#include "io/gguf_config.h"
#include "io/model_path.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** GGUF has, within each head, the rows 0, D/2, 1, D/2+1, …; the file's row for Hugging Face's `row`. */
int64_t permuted_row(int64_t row, int64_t per_head) {
  int64_t within = row % per_head, half = per_head / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

/** Dequantises row by row to where each belongs, so that nothing but the result has the tensor's size. */
HostTensor read_gguf(const GgufFile& file, const std::string& name, const Shape& shape, int64_t permuted_heads,
                     float offset, DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16)
    fail("{}: tensor '{}' can be read as float32, bfloat16 or float16, not as {}", file.path().string(), name,
         dtype_name(dtype));
  HostTensor out(dtype, shape);
  int64_t rows = shape.empty() ? 1 : shape[0], per_row = out.size() / rows;
  // A vector has rows of one element, which are no whole blocks: one row then, and an order of elements.
  bool vector = shape.size() < 2;
  if (vector && permuted_heads == 0) {
    per_row = out.size();
    rows = 1;
  }
  int64_t per_head = permuted_heads > 0 ? rows / permuted_heads : 0;
  if (permuted_heads > 0 && (rows % permuted_heads != 0 || per_head % 2 != 0))
    fail("{}: tensor '{}' has {} rows, which {} heads do not divide into pairs", file.path().string(), name, rows,
         permuted_heads);
  std::vector<float> whole;
  if (vector && permuted_heads > 0) {
    whole.resize(static_cast<size_t>(out.size()));
    file.read_elements(name, 0, out.size(), whole.data());
  }
  std::vector<float> scratch(dtype == DType::kF32 ? 0 : static_cast<size_t>(per_row));
  for (int64_t row = 0; row < rows; ++row) {
    int64_t from = per_head > 0 ? permuted_row(row, per_head) : row;
    float* target = dtype == DType::kF32 ? out.as_mutable<float>().data() + row * per_row : scratch.data();
    if (whole.empty())
      file.read_elements(name, from * per_row, per_row, target);
    else
      *target = whole[static_cast<size_t>(from)];
    if (offset != 0)
      for (int64_t i = 0; i < per_row; ++i) target[i] -= offset;
    if (dtype == DType::kF32) continue;
    uint16_t* rounded = out.as_mutable<uint16_t>().data() + row * per_row;
    for (int64_t i = 0; i < per_row; ++i) {
      const float value = scratch[static_cast<size_t>(i)];
      rounded[i] = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
    }
  }
  return out;
}

/** Whether a tensor's codes and scales are those that `how` would have, or in blocks exactly what they mean. */
bool takes_as_it_is(const GgufTensorInfo& info, const Quantisation& how) {
  const auto type = static_cast<GgmlType>(info.type);
  if (how.block != 0) {
    const std::optional<Quantisation> own = block_quantisation(type);
    return own && holding_both(how, *own) == how;
  }
  return type == GgmlType::kQ8_0 && how.codes == Quantisation::Codes::kInt8 && how.group == 32;
}

/** Codes and scales of a matrix that is taken as it is, its rows in Hugging Face's order. */
QuantisedWeight split_gguf(const GgufFile& file, const std::string& name, const Shape& shape, int64_t permuted_heads,
                           const Quantisation& how) {
  const int64_t rows = shape.at(0), columns = shape.at(1);
  const int64_t per_head = permuted_heads > 0 ? rows / permuted_heads : 0;
  if (permuted_heads > 0 && (rows % permuted_heads != 0 || per_head % 2 != 0))
    fail("{}: tensor '{}' has {} rows, which {} heads do not divide into pairs", file.path().string(), name, rows,
         permuted_heads);
  Shape scales = {rows, columns / how.unit()};
  if (how.block != 0) scales.push_back(how.block_scales().count());
  const int64_t row_codes = columns / how.codes_in_a_byte(), row_scales = num_elements(scales) / rows;
  QuantisedWeight held{HostTensor(how.codes_type(), {rows, row_codes}), HostTensor(how.scales_type(), scales)};
  const auto type = static_cast<GgmlType>(file.tensors().at(name).type);
  const std::span<const uint8_t> stored = file.stored(name);
  const auto row_bytes = stored.size() / static_cast<size_t>(rows);
  auto* const codes = static_cast<uint8_t*>(held.codes.mutable_data());
  void* const of_groups = held.scales.mutable_data();
  constexpr size_t kRowsAtOnce = 16;
  parallel_for(static_cast<size_t>(rows), kRowsAtOnce, 0, [&](size_t first, size_t last) {
    for (auto row = static_cast<int64_t>(first); row < static_cast<int64_t>(last); ++row) {
      const int64_t from = per_head > 0 ? permuted_row(row, per_head) : row;
      const uint8_t* const data = stored.data() + static_cast<size_t>(from) * row_bytes;
      uint8_t* const to = codes + row * row_codes;
      if (how.block != 0)
        take_apart(type, data, columns, how, to, static_cast<uint16_t*>(of_groups) + row * row_scales);
      else
        split_q8_0(data, columns, reinterpret_cast<int8_t*>(to), static_cast<float*>(of_groups) + row * row_scales);
    }
  });
  return held;
}

}  // namespace

namespace {

/** Of a path that is neither a folder nor a .gguf file. */
[[noreturn]] void refuse_path(const fs::path& given, const fs::path& path) {
  std::error_code ignored;
  std::string advice = "; nothing is there";
  if (fs::is_regular_file(path, ignored)) {
    const bool gguf = MappedFile::open(path)->text().starts_with("GGUF");
    advice = gguf ? "; it is a GGUF file: give it a name that ends with .gguf"
             : path.extension() == ".safetensors" || path.extension() == ".json" ? "; give the folder that it lies in"
                                                                                 : "";
  } else if (fs::exists(path, ignored)) {
    advice = "";
  }
  fail(
      "{}: expected a Hugging Face folder (with config.json and *.safetensors), a .gguf file, org/name of the Hugging "
      "Face hub, or one of the names {}{}",
      given.string(), fmt::join(packaged_models(), ", "), advice);
}

}  // namespace

ModelFiles ModelFiles::open(const fs::path& path) {
  ModelFiles files;
  files.path_ = resolve_model_path(path);
  if (fs::is_directory(files.path_))
    files.open_folder();
  else if (files.path_.extension() == ".gguf")
    files.open_gguf();
  else
    refuse_path(path, files.path_);
  files.check();
  files.note_types();
  return files;
}

void ModelFiles::open_folder() {
  require_config(path_);
  config_ = ModelConfig::from_file(path_ / "config.json");
  spec_ = decoder_spec(config_);
  std::set<std::string> expected;
  for (const auto& tensor : spec_.base_tensors()) expected.insert(tensor.name);
  auto add = [&](const std::shared_ptr<const SafetensorsFile>& file, const std::string& name) {
    // A folder saved from a model without a head has the names without their first part.
    std::string full = std::string(kBasePrefix) + name;
    Source source{file, nullptr, name, file->tensors().at(name).shape};
    if (!sources_.emplace(expected.contains(full) ? full : name, std::move(source)).second)
      fail("{}: tensor '{}' is there twice, with and without '{}' before its name", path_.string(), name, kBasePrefix);
  };
  const fs::path weights = find_weights(path_);
  if (weights.extension() == ".json") return add_shards(weights, add);
  auto file = SafetensorsFile::open(weights);
  for (const auto& [name, info] : file->tensors()) add(file, name);
  if (const char* index = "model.safetensors.index.json"; fs::exists(path_ / index))
    notes_.push_back(fmt::format("model.safetensors is read, and {} beside it is not, as in transformers", index));
}

void ModelFiles::add_shards(
    const fs::path& index,
    const std::function<void(const std::shared_ptr<const SafetensorsFile>& file, const std::string& name)>& add) {
  nlohmann::json json;
  try {
    const std::string text = read_json_text(index);
    refuse_lfs_pointer(text, index);
    json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not valid JSON: {}", index.string(), error.what());
  }
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail("{}: key 'weight_map' is missing or not an object", index.string());
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> shards;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    if (!shard.is_string()) fail("{}: the shard of '{}' is not a file name", index.string(), name);
    auto file_name = shard.get<std::string>();
    const fs::path relative = file_name;
    if (file_name.empty() || relative.is_absolute() ||
        std::find(relative.begin(), relative.end(), "..") != relative.end())
      fail("{}: the shard '{}' of '{}' must be a file within the folder", index.string(), file_name, name);
    auto& file = shards[file_name];
    if (!file && !fs::exists(path_ / file_name))
      fail("{}: the shard {} is missing, which should hold tensor '{}'; is the download complete?", index.string(),
           (path_ / file_name).string(), name);
    if (!file) file = SafetensorsFile::open(path_ / file_name);
    if (!file->tensors().contains(name))
      fail("{}: tensor '{}' should be in {}, and is not", index.string(), name, file_name);
    add(file, name);
  }
  for (const auto& [file_name, file] : shards)
    for (const auto& [name, info] : file->tensors())
      if (auto listed = json["weight_map"].find(name);
          listed == json["weight_map"].end() || listed->get<std::string>() != file_name)
        unused_.push_back(fmt::format("{} of {}, which the index does not place there", name, file_name));
}

void ModelFiles::open_gguf() {
  auto file = GgufFile::open(path_);
  config_ = gguf_config(*file);
  spec_ = decoder_spec(config_);
  struct Known {
    std::string name;
    int64_t permuted_heads = 0;
    float offset = 0;
  };
  std::map<std::string, Known> known;  // by GGUF's name
  for (const auto& tensor : spec_.base_tensors()) {
    bool pairs = tensor.spec.gguf_rows == GgufRows::kRotaryPairs;
    known[tensor.gguf_name] = {tensor.name, pairs ? tensor.spec.shape[0] / config_.head_dim : 0,
                               tensor.spec.gguf_offset};
  }
  known[spec_.language_model_head.gguf_name] = {spec_.language_model_head.name};
  for (const auto& [name, info] : file->tensors()) {
    if (name == kRopeFactors) continue;  // it is in the config
    auto found = known.find(name);
    const Known as_known = found == known.end() ? Known{name} : found->second;
    const std::string& meant = as_known.name;
    if (const std::string_view end = ".scale";
        name.ends_with(end) && known.contains(name.substr(0, name.size() - end.size()) + ".weight"))
      fail("{}: tensor '{}' scales a weight, which is not supported; take a file of another type, such as Q8_0 or Q4_K",
           path_.string(), name);
    Source source{nullptr, file, name, info.shape, as_known.permuted_heads, as_known.offset};
    if (!sources_.emplace(meant, std::move(source)).second)
      fail("{}: two tensors have the meaning of '{}'", path_.string(), meant);
  }
}

void ModelFiles::note_types() {
  for (BlockSpec& block : spec_.blocks)
    for (LinearSpec* linear : block.linears()) {
      std::vector<uint32_t> types;
      for (int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer) {
        const Source& from = source(name_in_layer(linear->weight.name, layer));
        if (from.gguf) types.push_back(from.gguf->tensors().at(from.name).type);
      }
      if (!types.empty()) linear->weight.in_file = held_together(types);
    }
}

void ModelFiles::check() {
  std::set<std::string> known = {spec_.language_model_head.name, head_spec(spec_, 1).name};
  std::vector<std::string> missing;
  for (const auto& tensor : spec_.base_tensors()) {
    known.insert(tensor.name);
    auto found = sources_.find(tensor.name);
    if (found == sources_.end()) {
      missing.push_back(tensor.name);
      continue;
    }
    check_type(tensor.name, found->second);
    if (found->second.shape != tensor.spec.shape)
      fail("{}: tensor '{}' has shape {}, the config calls for {}{}", path_.string(), tensor.name,
           to_string(found->second.shape), to_string(tensor.spec.shape), explain(tensor.name));
  }
  fill_missing_biases(missing);
  if (!missing.empty())
    fail("{}: tensor '{}' is missing{}; the config calls for {} layers{}", path_.string(), missing[0],
         missing.size() > 1 ? fmt::format(" (and {} more)", missing.size() - 1) : "", config_.num_hidden_layers,
         explain(missing[0]));
  for (const auto& [name, source] : sources_)
    if (!known.contains(name) && !name.ends_with("rotary_emb.inv_freq")) unused_.push_back(name);
}

void ModelFiles::check_type(const std::string& name, const Source& from) const {
  if (from.gguf) {
    const GgmlBlock block = *ggml_block(from.gguf->tensors().at(from.name).type);
    if (!block.readable)
      fail("{}: tensor '{}' has the storage type {}; supported are {}: take another file of the model", path_.string(),
           from.name, block.name, readable_ggml_types());
  } else {
    const TensorInfo& info = from.safetensors->tensors().at(from.name);
    if (!info.dtype || !is_float(*info.dtype))
      fail("{}: tensor '{}' holds {}, expected float32, bfloat16, float16 or float64{}",
           from.safetensors->path().string(), name, info.type, explain(name));
  }
}

void ModelFiles::fill_missing_biases(std::vector<std::string>& missing) {
  // A bias that one layer has and another has not is a damaged file rather than a model without it.
  std::map<std::string, int64_t> absent;  // by the name for all layers
  for (const LinearSpec* linear : spec_.blocks.front().linears())
    if (linear->has_bias())
      for (int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer)
        absent[linear->bias.front().name] += sources_.contains(name_in_layer(linear->bias.front().name, layer)) ? 0 : 1;
  std::vector<std::string> zero;
  for (const auto& tensor : spec_.base_tensors()) {
    if (tensor.spec.role != TensorRole::kBias || absent[tensor.spec.name] != spec_.num_hidden_layers) continue;
    sources_[tensor.name] = {nullptr, nullptr, tensor.name, tensor.spec.shape};
    std::erase(missing, tensor.name);
    if (zero.empty() || zero.back() != tensor.spec.name) zero.push_back(tensor.spec.name);
  }
  std::sort(zero.begin(), zero.end());
  zero.erase(std::unique(zero.begin(), zero.end()), zero.end());
  if (!zero.empty())
    notes_.push_back(fmt::format("no layer has {}: taken for zeros, as in transformers", fmt::join(zero, ", ")));
}

std::string ModelFiles::explain(const std::string& name) const {
  std::string own = name;
  if (own.starts_with(kBasePrefix)) own.erase(0, kBasePrefix.size());
  const std::string stem = own.substr(0, own.rfind('.') + 1);
  for (const auto& [there, source] : sources_) {
    const auto is = [&](const std::string& tail) { return there == tail || there.ends_with("." + tail); };
    for (const char* sign : {"qweight", "weight_packed", "weight_scale", "weight_scale_inv", "weight.absmax", "SCB",
                             "weight_format", "scales"})
      if (is(stem + sign))
        return fmt::format(
            "; '{}' is there: the weights are quantised, which Gavel does not read: take the model that it "
            "was made from, or a .gguf file of it",
            there);
    if (there != name && there.ends_with("." + own))
      return fmt::format(
          "; '{}' is there: the model was saved from within another (torch.compile, PEFT, DDP or the like); "
          "save the inner model by itself",
          there);
  }
  return "";
}

std::vector<std::string> ModelFiles::names() const {
  std::vector<std::string> names;
  for (const auto& [name, source] : sources_) names.push_back(name);
  return names;
}

std::vector<std::string> ModelFiles::notes() const {
  std::vector<std::string> all = notes_;
  if (const auto& keys = config_.unknown_keys; !keys.empty()) {
    constexpr size_t kShown = 10;
    all.push_back(fmt::format("not known to Gavel nor to transformers' class of the family, and left aside: {}{}",
                              fmt::join(std::span(keys).first(std::min(kShown, keys.size())), ", "),
                              keys.size() > kShown ? fmt::format(" and {} more", keys.size() - kShown) : ""));
  }
  if (!unused_.empty())
    all.push_back(fmt::format("{} tensors are not used, such as '{}'", unused_.size(), unused_.front()));
  return all;
}

const ModelFiles::Source& ModelFiles::source(const std::string& name) const {
  auto found = sources_.find(name);
  if (found == sources_.end()) fail("{}: no tensor '{}'{}", path_.string(), name, did_you_mean(name, names()));
  return found->second;
}

const Shape& ModelFiles::shape(const std::string& name) const {
  return source(name).shape;
}

HostTensor ModelFiles::read(const std::string& name, DType dtype) const {
  const Source& from = source(name);
  if (!from.gguf && !from.safetensors) return HostTensor(DType::kF32, from.shape).to(dtype);
  if (from.gguf) return read_gguf(*from.gguf, from.name, from.shape, from.permuted_heads, from.offset, dtype);
  HostTensor tensor = from.safetensors->tensor(from.name);
  if (!is_float(tensor.dtype()))
    fail("{}: tensor '{}' holds {}, expected floats", path_.string(), name, dtype_name(tensor.dtype()));
  return tensor.to(dtype);
}

QuantisedWeight ModelFiles::read_quantised(const std::string& name, const Quantisation& how) const {
  const Source& from = source(name);
  const auto refuse = [&](const HostTensor& numbers, const char* what) {
    if (auto at = first_not_finite(numbers))
      fail("{}: {}: {} {} is not a finite number (NaN or infinity): the file is damaged", path_.string(), name, what,
           *at);
  };
  if (from.gguf && takes_as_it_is(from.gguf->tensors().at(from.name), how)) {
    QuantisedWeight held = split_gguf(*from.gguf, from.name, from.shape, from.permuted_heads, how);
    refuse(held.scales, how.block != 0 ? "number of its blocks" : "the scale of group");
    return held;
  }
  const HostTensor numbers = read(name, DType::kF32);
  refuse(numbers, "element");
  return quantise(numbers, how);
}

HostTensor ModelFiles::read_held(const std::string& name, const TensorSpec& tensor, const BaseStorage& storage) const {
  const HeldTensor first = held_as(tensor, storage).front();
  if (first.part == HeldPart::kValues) return read(name, first.dtype);
  return dequantise(read_quantised(name, *first.quantisation), *first.quantisation);
}

std::vector<std::string> ModelFiles::notes_on(const BaseStorage& storage) const {
  std::map<std::string, int> types;  // of GGUF that are quantised anew
  int all = 0;
  bool held_all = true;
  for (const auto& tensor : spec_.base_tensors()) {
    const std::optional<Quantisation> how = storage.quantisation_of(tensor.spec);
    if (!how) continue;
    const Source& from = source(tensor.name);
    if (!from.gguf) continue;
    const GgufTensorInfo& info = from.gguf->tensors().at(from.name);
    const auto type = static_cast<GgmlType>(info.type);
    if (takes_as_it_is(info, *how) || type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16)
      continue;
    held_all = held_all && tensor.spec.in_file->quantisation;
    ++types[ggml_block(info.type)->name];
    ++all;
  }
  if (all == 0) return {};
  std::vector<std::string> names;
  for (const auto& [name, count] : types) names.push_back(name);
  return {fmt::format("{} weights of type {} are dequantised and quantised anew to {}, which rounds them twice{}", all,
                      fmt::join(names, ", "), storage.describe(),
                      held_all ? "; with model.dtype=gguf they are taken as they are" : "")};
}

bool ModelFiles::holds_float32() const {
  return std::ranges::any_of(spec_.base_tensors(), [&](const auto& tensor) {
    const Source& from = source(tensor.name);
    return from.safetensors && from.safetensors->tensors().at(from.name).dtype == DType::kF32;
  });
}

void ModelFiles::release(const std::string& name) const {
  const Source& from = source(name);
  if (from.safetensors)
    from.safetensors->release(from.name);
  else if (from.gguf)
    from.gguf->release(from.name);
}

std::map<std::string, TensorSpec> specs_by_name(const DecoderSpec& spec) {
  std::map<std::string, TensorSpec> specs;
  for (auto& tensor : spec.base_tensors()) specs[tensor.name] = std::move(tensor.spec);
  return specs;
}

void export_folder(const ModelFiles& files, const fs::path& folder, DType dtype, std::optional<int64_t> num_labels,
                   const ExportChanges& changes) {
  ModelConfig config = files.config();
  const std::string head = head_spec(files.spec(), 1).name;
  const int64_t labels_there = files.has(head) ? files.shape(head).at(0) : 0;
  const int64_t labels = num_labels.value_or(labels_there > 0 ? labels_there : 3);
  const bool keeps_head = changes.added.empty() && labels == labels_there;
  if (!config.rope.freq_factors.empty())
    fail(
        "{}: its {} follows no rule that a config.json can state, so the model can't be written as a Hugging Face "
        "folder; "
        "train from the .gguf file itself",
        files.path().string(), kRopeFactors);
  make_folder(folder);
  std::vector<TensorToWrite> tensors;
  for (const auto& tensor : files.spec().base_tensors()) tensors.push_back({tensor.name, dtype, tensor.spec.shape});
  for (const auto& [name, value] : changes.added) tensors.push_back({name, dtype, value.shape()});
  if (keeps_head) tensors.push_back({head, dtype, files.shape(head)});
  auto read = [&](const TensorToWrite& tensor) {
    for (const auto& [name, value] : changes.added)
      if (name == tensor.name) return value.to(dtype);
    return changes.read && tensor.name != head ? changes.read(tensor.name).to(dtype) : files.read(tensor.name, dtype);
  };
  write_safetensors(folder / "model.safetensors", tensors, read, {{"format", "pt"}});
  // transformers pools at the pad token, so there has to be one.
  if (!config.pad_token_id) config.pad_token_id = config.eos_token_id;
  write_file(folder / "config.json", config.to_json(labels, dtype_name(dtype)));
}

}  // namespace gavel
