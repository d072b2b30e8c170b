#include "io/weight_files.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/** Names of the folder's files in order. */
std::vector<std::string> names_in(const fs::path& folder) {
  constexpr size_t kMany = 10000;
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end && names.size() < kMany;
       entry.increment(error))
    names.push_back(entry->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/** A kind of file that stands where a folder's weights should be. */
struct OtherWeights {
  bool (*is)(std::string_view name);
  const char* advice;  // behind the file's name
};

constexpr const char* kPickle =
    "is PyTorch's own format, which can run code and is not read; save the model anew with transformers' "
    "save_pretrained, which writes safetensors";

const OtherWeights kOthers[] = {
    {[](std::string_view name) { return name == kSingle || name == kIndex; },
     "is a link to a file that is not there; download it again"},
    {[](std::string_view name) { return name == "adapter_model.safetensors" || name == "adapter_config.json"; },
     "is of an adapter; give the base model that it was trained on"},
    {[](std::string_view name) { return name.starts_with("consolidated") && name.ends_with(".safetensors"); },
     "has the names of its maker's own format; take the files model*.safetensors of the same model"},
    {[](std::string_view name) { return name.starts_with("model-0") && name.ends_with(".safetensors"); },
     "is one of several shards, and their list, model.safetensors.index.json, is not there; download it too"},
    {[](std::string_view name) { return name.starts_with("model") && name.ends_with(".safetensors.index.json"); },
     "lists the shards of a variant; rename it and its shards as transformers writes them "
     "(model.safetensors.index.json) "
     "if that is the model you mean"},
    {[](std::string_view name) { return name.starts_with("model") && name.ends_with(".safetensors"); },
     "is a variant; rename it to model.safetensors if that is the model you mean"},
    {[](std::string_view name) { return name.ends_with(".safetensors"); },
     "is not a name that transformers opens; rename it to model.safetensors if that is the model you mean"},
    {[](std::string_view name) { return name.ends_with(".gguf"); }, "is a model by itself; give the file"},
    {[](std::string_view name) { return name.starts_with("pytorch_model") && name.find(".bin") != name.npos; },
     kPickle},
    {[](std::string_view name) { return name.ends_with(".h5") || name.ends_with(".msgpack"); },
     "is of TensorFlow or Flax, which is not read; take the model's safetensors"},
    {[](std::string_view name) { return name.ends_with(".onnx"); },
     "is an ONNX program, which is not read; take the model's safetensors"},
    {[](std::string_view name) { return name == "snapshots"; },
     "holds the model's versions, as a cache of downloads does; give the folder of one of them"},
    {[](std::string_view name) { return name.starts_with("checkpoint-"); },
     "is a state of a training run; give that folder, if it holds a whole model"},
    {[](std::string_view name) {
       // What a training run leaves beside a model says nothing about it.
       for (const char* state : {"training_args", "optimizer", "scheduler", "rng_state"})
         if (name.starts_with(state)) return false;
       return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".ckpt");
     },
     kPickle},
};

/** "; found X, which …" of the first kind that is there. */
std::string found_instead(const fs::path& folder) {
  const auto names = names_in(folder);
  for (const OtherWeights& other : kOthers)
    for (const std::string& name : names)
      if (other.is(name)) return fmt::format("; found {}: it {}", name, other.advice);
  if (names.empty()) return "; the folder is empty";
  return "";
}

}  // namespace

fs::path find_weights(const fs::path& folder) {
  for (const char* name : {kSingle, kIndex})
    if (std::error_code ignored; fs::is_regular_file(folder / name, ignored)) return folder / name;
  fail("{}: neither {} nor {} is there{}", folder.string(), kSingle, kIndex, found_instead(folder));
}

void require_config(const fs::path& folder) {
  if (std::error_code ignored; fs::exists(folder / "config.json", ignored)) return;
  fail("{}: config.json is missing; expected a Hugging Face folder with config.json and *.safetensors{}",
       folder.string(), found_instead(folder));
}

}  // namespace gavel
