#include "model/adapter.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/json_text.h"
#include "io/model_path.h"
#include "io/safetensors.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kWeightsName = "adapter_model.safetensors";
constexpr const char* kRewardName = "reward.json";

/** Row `index` of a stacked tensor, as a view. */
HostTensor row(const HostTensor& tensor, size_t index) {
  Shape shape(tensor.shape().begin() + 1, tensor.shape().end());
  size_t bytes = tensor.bytes() / static_cast<size_t>(tensor.shape()[0]);
  auto keep = std::make_shared<HostTensor>(tensor);
  return HostTensor(tensor.dtype(), shape, static_cast<const char*>(tensor.data()) + index * bytes, keep);
}

/** Of the names in a file: PEFT's, "base_model.model." and then transformers'. */
constexpr std::string_view kPeftPrefix = "base_model.model.";

/** What the adapter puts on one linear, in each layer. */
struct Branches {
  const LinearSpec* linear;
  std::vector<std::optional<PeftConfig::Branch>> layers;
};

std::string module_name(const LinearSpec& linear, int64_t layer) {
  return fmt::format("{}layers.{}.{}", kBasePrefix, layer, linear.path);
}

/** Throws when the adapter is on a module that is no linear of a layer, or has a module of its own beside the head. */
void check_other_modules(const PeftConfig& config, const DecoderSpec& spec) {
  const std::string model(kBasePrefix.substr(0, kBasePrefix.size() - 1));
  std::vector<std::string> others = {head_spec(spec, 1).name, spec.embeddings.name, spec.final_norm.name};
  for (const TensorSpec* tensor : spec.blocks.front().tensors())
    if (tensor->role == TensorRole::kNorm) others.push_back(name_in_layer(tensor->name, 0));
  for (std::string& name : others) name.resize(name.rfind('.'));  // without "weight"
  const std::string head = others.front();
  for (const std::string part : {"", ".layers", ".layers.0", ".layers.0.self_attn", ".layers.0.mlp"})
    others.push_back(model + part);
  for (const std::string& module : others) {
    if (config.targets(module))
      fail(
          "{}: target_modules has '{}', which is no linear of a layer: Gavel adapts {}; merge the adapter into its "
          "base with PEFT and train on that",
          config.path().string(), module, fmt::join(spec.linear_names(), ", "));
    if (module != head && config.saves(module))
      fail(
          "{}: modules_to_save has '{}', so the adapter brings a whole module of its own; Gavel trains adapters and "
          "the head alone: merge the adapter into its base with PEFT and train on that",
          config.path().string(), module);
  }
}

/** Of those linears that have an adapter in some layer, in the order of BlockSpec::linears. Throws when there is none, or
 * an adapter on something else. */
std::vector<Branches> checked_branches(const PeftConfig& config, const DecoderSpec& spec) {
  check_other_modules(config, spec);
  std::vector<Branches> all;
  for (const LinearSpec* linear : spec.blocks.front().linears()) {
    Branches branches{linear, {}};
    for (int64_t layer = 0; layer < spec.num_hidden_layers; ++layer)
      branches.layers.push_back(config.branch(module_name(*linear, layer)));
    auto is_there = [](const auto& branch) { return branch.has_value(); };
    if (std::any_of(branches.layers.begin(), branches.layers.end(), is_there)) all.push_back(std::move(branches));
  }
  if (all.empty())
    fail("{}: target_modules names no linear of a {} layer, which has {}", config.path().string(), spec.model_type,
         fmt::join(spec.linear_names(), ", "));
  return all;
}

/** The layers that all linears have adapters in; empty when these are all layers or not the same for all, and with
 * magnitudes, which every layer has here. */
std::vector<int64_t> common_layers(const PeftConfig& config, const std::vector<Branches>& all) {
  auto layers_of = [](const Branches& branches) {
    std::vector<int64_t> layers;
    for (size_t layer = 0; layer < branches.layers.size(); ++layer)
      if (branches.layers[layer]) layers.push_back(static_cast<int64_t>(layer));
    return layers;
  };
  const std::vector<int64_t> first = layers_of(all.front());
  if (config.use_dora() || first.size() == all.front().layers.size()) return {};
  for (const Branches& branches : all)
    if (layers_of(branches) != first) return {};
  return first;
}

/** The settings that hold for all of an adapter's parts, whose ranks and scalings may differ. */
LoraConfig common_settings(const PeftConfig& config, const std::vector<Branches>& all) {
  LoraConfig lora{config.r(), config.lora_alpha(), config.lora_dropout(), {}, config.use_rslora(), config.use_dora()};
  lora.layers_to_transform = common_layers(config, all);
  std::vector<PeftConfig::Branch> distinct;
  for (const Branches& branches : all) {
    lora.target_modules.push_back(branches.linear->name);
    for (const auto& branch : branches.layers)
      if (branch && std::find(distinct.begin(), distinct.end(), *branch) == distinct.end()) distinct.push_back(*branch);
  }
  if (distinct.size() == 1) {
    lora.r = distinct[0].r;
    lora.lora_alpha = distinct[0].lora_alpha;
    return lora;
  }
  bool one_scaling = true;
  lora.r = 0;
  for (const PeftConfig::Branch& branch : distinct) {
    lora.r = std::max(lora.r, branch.r);
    one_scaling = one_scaling && branch.scaling == distinct[0].scaling;
  }
  lora.use_rslora = false;
  lora.lora_alpha = static_cast<double>(lora.r) * (one_scaling ? distinct[0].scaling : 1);
  return lora;
}

/** The tensors of an adapter_model.safetensors, and which of them have been read. */
class AdapterTensors {
 public:
  explicit AdapterTensors(const fs::path& path) : path_(path), file_(SafetensorsFile::open(path)) {
    for (const auto& [name, info] : file_->tensors())
      // What a module was before training, as some trainers save it too.
      if (name.find(".original_module.") == std::string::npos) unread_.insert(name);
  }

  bool has(const std::string& name) const { return unread_.contains(name); }

  /** float32. Throws when there is no such tensor or it has another shape. */
  HostTensor take(const std::string& name, const Shape& expected) {
    if (unread_.erase(name) == 0) fail("{}: tensor '{}' is missing{}", path_.string(), name, instead());
    HostTensor part = file_->tensor(name);
    if (part.shape() != expected)
      fail("{}: tensor '{}' has shape {}, this base model calls for {}: is it an adapter of another model?",
           path_.string(), name, to_string(part.shape()), to_string(expected));
    if (!is_float(part.dtype())) fail("{}: tensor '{}' holds {}", path_.string(), name, dtype_name(part.dtype()));
    return part.to(DType::kF32);
  }

  const Shape& shape(const std::string& name) const { return file_->tensors().at(name).shape; }

  void check_all_read(const DecoderSpec& spec) const {
    if (unread_.empty()) return;
    for (const auto& tensor : spec.base_tensors())
      if (const std::string name = std::string(kPeftPrefix) + tensor.name; has(name))
        fail(
            "{}: it holds '{}' {}, in place of the base's {}; Gavel trains adapters and the head alone: merge the "
            "adapter into its base with PEFT (merge_and_unload) and train on that",
            path_.string(), name, to_string(shape(name)), to_string(tensor.spec.shape));
    const std::string& name = *unread_.begin();
    fail("{}: tensor '{}' {} has no place in this base model with the adapter's configuration ({} such tensors)",
         path_.string(), name, to_string(shape(name)), unread_.size());
  }

  /** For the message about a missing tensor: one whose name PEFT does not know. */
  std::string instead() const {
    for (const std::string& name : unread_)
      if (!name.starts_with(kPeftPrefix) || name.find("_orig_mod") != std::string::npos)
        return fmt::format(
            "; it holds '{}', a name that PEFT does not write: save it again without the wrapper (torch.compile's "
            "or another) around the model",
            name);
    return "";
  }

 private:
  const fs::path& path_;
  std::shared_ptr<const SafetensorsFile> file_;
  std::set<std::string> unread_;
};

/** The file of the weights; an Error that says what is there in its place. */
fs::path weights_path(const fs::path& folder) {
  const fs::path path = folder / kWeightsName;
  if (!fs::exists(path) && fs::exists(folder / "adapter_model.bin"))
    fail(
        "{}: only adapter_model.bin is there, a pickle that could run code; save it again with PEFT's "
        "save_pretrained(…, safe_serialization=True)",
        folder.string());
  return path;
}

/** Copies a matrix [rows, columns] times `factor` into the upper left of a larger one of `target_columns`. */
void copy_matrix(const HostTensor& from, float factor, std::span<float> target, size_t target_columns) {
  auto values = from.as<float>();
  const auto rows = static_cast<size_t>(from.shape()[0]), columns = values.size() / rows;
  for (size_t row = 0; row < rows; ++row)
    for (size_t column = 0; column < columns; ++column)
      target[row * target_columns + column] = factor * values[row * columns + column];
}

}  // namespace

void save_adapter(const fs::path& folder, const DecoderSpec& spec, const AdapterConfig& adapter,
                  const std::vector<HostTensor>& values) {
  TrainableLayout layout = trainable_layout(spec, adapter.lora, 1, adapter.learns_tie);
  if (layout.parameters.size() != values.size())
    fail("save_adapter: {} tensors expected, {} given", layout.parameters.size(), values.size());
  layout = trainable_layout(spec, adapter.lora, layout.num_labels(values), adapter.learns_tie);
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (size_t i = 0; i < values.size(); ++i) {
    const TrainableParameter& parameter = layout.parameters[i];
    if (values[i].shape() != parameter.shape)
      fail("save_adapter: {} has shape {}, expected {}", parameter.name, to_string(values[i].shape()),
           to_string(parameter.shape));
    if (first_not_finite(values[i]))
      fail(
          "{}: {} holds numbers that are not finite (NaN or infinity), so it is not written: training went astray; "
          "lower "
          "train.learning_rate, or set train.max_grad_norm",
          (folder / kWeightsName).string(), parameter.name);
    for (size_t layer = 0; layer < parameter.peft_names.size(); ++layer)
      if (!parameter.stacked || adapter.lora.adapts(static_cast<int64_t>(layer)))
        tensors.emplace_back(parameter.peft_names[layer], parameter.stacked ? row(values[i], layer) : values[i]);
  }
  const LoraConfig& lora = adapter.lora;
  Json json;
  json["alpha_pattern"] = Json::object();
  json["auto_mapping"] = nullptr;
  const auto [base_model, revision] = hub_name_and_revision(adapter.base_model);
  json["base_model_name_or_path"] = base_model;
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["inference_mode"] = true;
  json["init_lora_weights"] = true;
  json["layers_pattern"] = nullptr;
  json["layers_to_transform"] = lora.layers_to_transform.empty() ? Json() : Json(lora.layers_to_transform);
  json["lora_alpha"] = lora.lora_alpha;
  json["lora_dropout"] = lora.lora_dropout;
  json["modules_to_save"] = {"classifier", "score"};
  json["peft_type"] = "LORA";
  json["r"] = lora.r;
  json["rank_pattern"] = Json::object();
  json["revision"] = revision ? Json(*revision) : Json();
  json["target_modules"] = lora.target_modules;
  json["task_type"] = "SEQ_CLS";
  json["use_dora"] = lora.use_dora;
  json["use_rslora"] = lora.use_rslora;
  if (layout.tie)
    write_file(folder / kRewardName, Json{{"tie_logit", values[*layout.tie].as<float>()[0]}}.dump(1) + "\n");
  write_safetensors(folder / kWeightsName, tensors, {{"format", "pt"}});
  write_file(folder / "adapter_config.json", json.dump(2) + "\n");
}

namespace {

/** Fills the tensors of one linear. */
class BranchReader {
 public:
  BranchReader(const PeftConfig& config, const TrainableLayout& layout, const LoraConfig& lora, const ModelFiles* base,
               AdapterTensors& tensors, std::vector<HostTensor>& values)
      : config_(config), layout_(layout), lora_(lora), base_(base), tensors_(tensors), values_(values) {}

  void read(const TrainableLayout::Adapter& adapter, const Branches& branches) {
    for (size_t layer = 0; layer < branches.layers.size(); ++layer)
      if (const auto& branch = branches.layers[layer]) {
        const LinearSpec& linear = *branches.linear;
        copy(adapter.a, layer, {branch->r, linear.in_features()}, 1);
        // 1 exactly where all scalings are the same.
        copy(adapter.b, layer, {linear.out_features(), branch->r},
             static_cast<float>(branch->scaling / lora_.scaling()));
        if (adapter.magnitude) copy(*adapter.magnitude, layer, {linear.out_features()}, 1);
      } else if (adapter.magnitude) {
        put(*adapter.magnitude, layer, base_lengths(adapter, static_cast<int64_t>(layer)), 1);
      }
  }

 private:
  void copy(size_t index, size_t layer, const Shape& shape, float factor) {
    const TrainableParameter& parameter = layout_.parameters[index];
    std::string name = parameter.peft_names[layer];
    // In some versions magnitudes have the ending that other tensors have.
    if (parameter.tensor.role == TensorRole::kAdapterMagnitude && tensors_.has(name + ".weight")) name += ".weight";
    put(index, layer, tensors_.take(name, shape), factor);
  }

  void put(size_t index, size_t layer, const HostTensor& part, float factor) {
    const Shape& whole = layout_.parameters[index].tensor.shape;
    const auto size = static_cast<size_t>(num_elements(whole));
    auto target = values_[index].as_mutable<float>().subspan(layer * size, size);
    copy_matrix(part, factor, target, whole.size() > 1 ? static_cast<size_t>(whole[1]) : 1);
  }

  HostTensor base_lengths(const TrainableLayout::Adapter& adapter, int64_t layer) const {
    if (base_ == nullptr)
      fail("{}: use_dora on a linear of some layers alone can't be opened without the base's weights",
           config_.path().string());
    return row_lengths(base_->read(name_in_layer(adapter.weight.name, layer), DType::kF32));
  }

  const PeftConfig& config_;
  const TrainableLayout& layout_;
  const LoraConfig& lora_;
  const ModelFiles* base_;
  AdapterTensors& tensors_;
  std::vector<HostTensor>& values_;
};

/** Of the reward.json beside an adapter. */
std::optional<float> tie_logit(const fs::path& folder) {
  const fs::path path = folder / kRewardName;
  if (!fs::exists(path)) return std::nullopt;
  const Json json = Json::parse(read_json_text(path), nullptr, false);
  if (!json.is_object() || !json.contains("tie_logit") || !json["tie_logit"].is_number())
    fail("{}: expected an object with a number 'tie_logit'", path.string());
  return json["tie_logit"].get<float>();
}

/** Throws, with both shapes, when the file's head is another task's. */
void check_head(const fs::path& path, const PeftConfig& config, const AdapterTensors& tensors, const std::string& name,
                const Shape& expected) {
  if (!tensors.has(name))
    fail("{}: the head '{}' is missing{}{}", path.string(), name, tensors.instead(),
         config.task_type() == "SEQ_CLS"
             ? ""
             : fmt::format("; task_type is '{}', a judge's is SEQ_CLS", config.task_type()));
  const Shape& found = tensors.shape(name);
  if (found == expected || found.size() != 2 || found[1] != expected[1]) return;
  const std::string meaning = found[0] == 1   ? " (one label: a reward model, opened with task=reward)"
                              : found[0] == 2 ? " (two labels: with model.num_labels=2 it is a judge without ties)"
                                              : "";
  fail("{}: the head '{}' has shape {}{}; this task's has {}", path.string(), name, to_string(found), meaning,
       to_string(expected));
}

}  // namespace

LoraConfig adapter_settings(const PeftConfig& config, const DecoderSpec& spec) {
  return common_settings(config, checked_branches(config, spec));
}

LoadedAdapterWeights read_adapter(const PeftConfig& config, const DecoderSpec& spec, int64_t num_labels,
                                  const ModelFiles* base) {
  const std::vector<Branches> all = checked_branches(config, spec);
  const fs::path folder = config.path().parent_path();
  const std::optional<float> tie = num_labels == 1 ? tie_logit(folder) : std::nullopt;
  LoadedAdapterWeights out;
  out.config = {common_settings(config, all), config.base_model(), tie.has_value()};
  const TrainableLayout layout = trainable_layout(spec, out.config.lora, num_labels, tie.has_value());
  const fs::path path = weights_path(folder);
  AdapterTensors tensors(path);
  const TrainableParameter& head = layout.parameters[layout.head];
  check_head(path, config, tensors, head.peft_names.front(), head.shape);
  for (const TrainableParameter& parameter : layout.parameters) out.values.emplace_back(DType::kF32, parameter.shape);
  BranchReader reader(config, layout, out.config.lora, base, tensors, out.values);
  for (size_t i = 0; i < all.size(); ++i) reader.read(layout.adapters.at(i), all[i]);
  if (tie) out.values[*layout.tie].as_mutable<float>()[0] = *tie;
  out.values[layout.head] = tensors.take(head.peft_names.front(), head.shape);
  tensors.check_all_read(spec);
  for (size_t i = 0; i < out.values.size(); ++i)
    if (first_not_finite(out.values[i]))
      fail(
          "{}: {}: there are numbers that are not finite (NaN or infinity) in it: the adapter is broken; train it "
          "again",
          path.string(), layout.parameters[i].name);
  return out;
}

}  // namespace gavel
