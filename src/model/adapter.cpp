#include "model/adapter.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "io/safetensors.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kWeightsName = "adapter_model.safetensors";

/** Row `index` of a stacked tensor, as a view. */
HostTensor row(const HostTensor& tensor, size_t index) {
  Shape shape(tensor.shape().begin() + 1, tensor.shape().end());
  size_t bytes = tensor.bytes() / static_cast<size_t>(tensor.shape()[0]);
  auto keep = std::make_shared<HostTensor>(tensor);
  return HostTensor(tensor.dtype(), shape, static_cast<const char*>(tensor.data()) + index * bytes, keep);
}

/** The last part of a module name: PEFT matches "q_proj" and "self_attn.q_proj" alike. */
std::string last_part(const std::string& name) {
  auto dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

bool is_empty(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || value.empty();
}

}  // namespace

void save_adapter(const fs::path& folder, const DecoderSpec& spec, const AdapterConfig& adapter,
                  const std::vector<HostTensor>& values) {
  TrainableLayout layout = trainable_layout(spec, adapter.lora, 1);
  if (layout.parameters.size() != values.size())
    fail("save_adapter: {} tensors expected, {} given", layout.parameters.size(), values.size());
  layout = trainable_layout(spec, adapter.lora, layout.num_labels(values));
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (size_t i = 0; i < values.size(); ++i) {
    const TrainableParameter& parameter = layout.parameters[i];
    if (values[i].shape() != parameter.shape)
      fail("save_adapter: {} has shape {}, expected {}", parameter.name, to_string(values[i].shape()),
           to_string(parameter.shape));
    for (size_t layer = 0; layer < parameter.peft_names.size(); ++layer)
      tensors.emplace_back(parameter.peft_names[layer], parameter.stacked ? row(values[i], layer) : values[i]);
  }
  const LoraConfig& lora = adapter.lora;
  Json json;
  json["alpha_pattern"] = Json::object();
  json["auto_mapping"] = nullptr;
  json["base_model_name_or_path"] = adapter.base_model;
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["inference_mode"] = true;
  json["init_lora_weights"] = true;
  json["layers_pattern"] = nullptr;
  json["layers_to_transform"] = nullptr;
  json["lora_alpha"] = lora.lora_alpha;
  json["lora_dropout"] = lora.lora_dropout;
  json["modules_to_save"] = {"classifier", "score"};
  json["peft_type"] = "LORA";
  json["r"] = lora.r;
  json["rank_pattern"] = Json::object();
  json["revision"] = nullptr;
  json["target_modules"] = lora.target_modules;
  json["task_type"] = "SEQ_CLS";
  json["use_dora"] = false;
  json["use_rslora"] = lora.use_rslora;
  write_safetensors(folder / kWeightsName, tensors, {{"format", "pt"}});
  write_file(folder / kConfigName, json.dump(2) + "\n");
}

AdapterConfig read_adapter_config(const fs::path& folder) {
  fs::path path = folder / kConfigName;
  Json json;
  try {
    json = Json::parse(read_text(path));
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", path.string(), error.what());
  }
  if (!json.is_object()) fail("{}: expected a JSON object", path.string());
  auto get = [&]<class T>(const char* key, T fallback) -> T {
    if (!json.contains(key) || json[key].is_null()) return fallback;
    try {
      return json[key].get<T>();
    } catch (const Json::exception&) {
      fail("{}: key '{}' has an unexpected type: {}", path.string(), key, json[key].dump());
    }
  };
  if (get("peft_type", std::string()) != "LORA")
    fail("{}: peft_type is '{}', expected LORA", path.string(), get("peft_type", std::string()));
  if (get("bias", std::string("none")) != "none")
    fail("{}: bias '{}' is not supported, only none", path.string(), get("bias", std::string()));
  for (const char* key :
       {"use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform", "layer_replication", "fan_in_fan_out",
        "lora_bias", "trainable_token_indices", "target_parameters", "use_qalora", "exclude_modules"})
    if (json.contains(key) && !is_empty(json[key]))
      fail("{}: '{}' is {}: adapters with it are not supported", path.string(), key, json[key].dump());
  AdapterConfig config;
  config.base_model = get("base_model_name_or_path", std::string());
  config.lora.r = get("r", int64_t{0});
  config.lora.lora_alpha = get("lora_alpha", 0.0);
  config.lora.lora_dropout = get("lora_dropout", 0.0);
  config.lora.use_rslora = get("use_rslora", false);
  if (config.lora.r < 1) fail("{}: r is {}, expected a positive rank", path.string(), config.lora.r);
  std::set<std::string> targets;
  if (json.contains("target_modules") && json["target_modules"].is_string()) {
    if (json["target_modules"] != "all-linear")
      fail("{}: target_modules is the pattern {}; expected a list of module names", path.string(),
           json["target_modules"].dump());
    for (const std::string& name : all_linear_names()) targets.insert(name);
  } else {
    for (const std::string& name : get("target_modules", std::vector<std::string>())) targets.insert(last_part(name));
  }
  // PEFT writes a set, in any order; ours is the model's.
  for (const std::string& name : all_linear_names())
    if (targets.erase(name) > 0) config.lora.target_modules.push_back(name);
  if (!targets.empty())
    fail("{}: target module '{}' is not a linear that Gavel adapts{}", path.string(), *targets.begin(),
         did_you_mean(*targets.begin(), all_linear_names()));
  return config;
}

std::vector<HostTensor> read_adapter_weights(const fs::path& folder, const DecoderSpec& spec,
                                             const AdapterConfig& adapter, int64_t num_labels) {
  fs::path path = folder / kWeightsName;
  auto file = SafetensorsFile::open(path);
  std::set<std::string> unread;
  for (const auto& [name, info] : file->tensors()) unread.insert(name);
  std::vector<HostTensor> values;
  for (const TrainableParameter& parameter : trainable_layout(spec, adapter.lora, num_labels).parameters) {
    HostTensor value(DType::kF32, parameter.shape);
    const Shape& expected = parameter.tensor.shape;
    size_t bytes = value.bytes() / parameter.peft_names.size();
    for (size_t layer = 0; layer < parameter.peft_names.size(); ++layer) {
      const std::string& name = parameter.peft_names[layer];
      if (unread.erase(name) == 0) fail("{}: tensor '{}' is missing", path.string(), name);
      HostTensor part = file->tensor(name);
      if (part.shape() != expected)
        fail("{}: tensor '{}' has shape {}, this base model calls for {}: is it an adapter of another model?",
             path.string(), name, to_string(part.shape()), to_string(expected));
      if (!is_float(part.dtype())) fail("{}: tensor '{}' holds {}", path.string(), name, dtype_name(part.dtype()));
      HostTensor wide = part.to(DType::kF32);
      std::memcpy(static_cast<char*>(value.mutable_data()) + layer * bytes, wide.data(), bytes);
    }
    values.push_back(std::move(value));
  }
  if (!unread.empty())
    fail("{}: tensor '{}' has no place in this base model with the adapter's configuration ({} such tensors)",
         path.string(), *unread.begin(), unread.size());
  return values;
}

}  // namespace gavel
