#include "train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/atomic_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_number.h"
#include "base/json_text.h"
#include "io/safetensors.h"

namespace gavel {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kState = "state.json";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kChecksums = "checksums.json";
constexpr int kFormat = 1;

Json read_json(const fs::path& path) {
  Json json = Json::parse(read_json_text(path), nullptr, false);
  if (json.is_discarded()) fail("{}: not valid JSON", path.string());
  return json;
}

void write_checksums(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  Json files = Json::object();
  for (const std::string& name : names) {
    FileDigest digest = digest_file(folder / name);
    files[name] = {{"bytes", digest.bytes}, {"crc64", to_hex(digest.crc64)}};
  }
  write_file(folder / kChecksums, Json{{"format", kFormat}, {"files", files}}.dump(1) + "\n");
}

void check_files(const fs::path& folder) {
  Json json = read_json(folder / kChecksums);
  if (json.at("format") != kFormat)
    fail("{}: format {} is not known; was it written by a newer version?", (folder / kChecksums).string(),
         json.at("format").dump());
  for (const auto& [name, expected] : json.at("files").items()) {
    if (name.find('/') != std::string::npos) fail("{}: '{}' is no file's name", (folder / kChecksums).string(), name);
    FileDigest found = digest_file(folder / name);
    const Json& bytes = expected.at("bytes");
    if (whole_number(bytes) != static_cast<int64_t>(found.bytes))
      fail("{}: {} bytes expected, {} found", (folder / name).string(), bytes.dump(), found.bytes);
    if (to_hex(found.crc64) != expected.at("crc64").get<std::string>())
      fail("{}: its checksum is not the one in {}", (folder / name).string(), kChecksums);
  }
  for (const char* name : {kState, kOptimizer})
    if (!json.at("files").contains(name)) fail("{}: {} is not listed", (folder / kChecksums).string(), name);
}

constexpr const char* kAuxiliary = "auxiliary";  // in the optimizer's file, since the adapter's has no place for it

constexpr const char* kLossScale = "loss_scale";  // with float16: the scale, and the steps since it was changed

TrainableLayout trained_layout(const CheckpointLayout& layout) {
  return trainable_layout(layout.spec, layout.adapter.lora, layout.num_labels, layout.adapter.learns_tie,
                          layout.auxiliary_outputs);
}

std::vector<std::string> optimizer_names(const CheckpointLayout& layout, const char* prefix) {
  std::vector<std::string> names;
  for (const auto& parameter : trained_layout(layout).parameters) names.push_back(prefix + parameter.name);
  return names;
}

std::optional<int64_t> step_of(const fs::path& path) {
  std::string name = path.filename().string();
  int64_t step = 0;
  if (!name.starts_with("step-")) return std::nullopt;
  const char *begin = name.data() + 5, *end = name.data() + name.size();
  auto [at, error] = std::from_chars(begin, end, step);
  return error == std::errc() && at == end && step >= 0 ? std::optional(step) : std::nullopt;
}

}  // namespace

std::vector<HostTensor> adapter_weights(const CheckpointLayout& layout, std::vector<HostTensor> trained) {
  if (layout.auxiliary_outputs > 0) trained.pop_back();
  return trained;
}

SavedRun open_checkpoint(const fs::path& path) {
  try {
    check_files(path);
    Json json = read_json(path / kState);
    const std::string place = (path / kState).string();
    SavedRun saved{path, run_state_from_json(json.at("state"), place),
                   run_identity_from_json(json.at("identity"), place)};
    if (const std::optional<int64_t> step = step_of(path); step && *step != saved.state.step)
      fail("{}: 'step' is {}, expected {} as the folder's name has it", place, saved.state.step, *step);
    return saved;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("{}: not as a checkpoint should be: {}", path.string(), error.what());
  }
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored))
    if (auto step = step_of(entry.path())) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

void CheckpointStore::save(const CheckpointLayout& layout, const RunState& state, const RunIdentity& identity,
                           const TrainedState& trained) const {
  make_folder(folder_);
  AtomicFolder folder(path(state.step));
  save_adapter(folder.temporary(), layout.spec, layout.adapter, adapter_weights(layout, trained.weights));
  write_file(folder.temporary() / "recipe.yaml", layout.recipe);
  std::vector<std::pair<std::string, HostTensor>> tensors;
  auto add = [&](const char* prefix, const std::vector<HostTensor>& values) {
    std::vector<std::string> names = optimizer_names(layout, prefix);
    for (size_t i = 0; i < names.size(); ++i) tensors.emplace_back(names[i], values.at(i));
  };
  add("m.", trained.m);
  add("v.", trained.v);
  if (layout.auxiliary_outputs > 0) tensors.emplace_back(kAuxiliary, trained.weights.back());
  if (const auto& scale = trained.loss_scale)
    tensors.emplace_back(
        kLossScale,
        HostTensor::from<float>({static_cast<float>(scale->scale), static_cast<float>(scale->good_steps)}, {2}));
  write_safetensors(folder.temporary() / kOptimizer, tensors, {});
  write_file(folder.temporary() / kState,
             Json{{"state", to_json(state)}, {"identity", to_json(identity)}}.dump(1) + "\n");
  write_checksums(folder.temporary());
  folder.commit();
}

std::optional<SavedRun> CheckpointStore::newest(const std::function<void(const std::string&)>& skipped) const {
  std::vector<int64_t> all = steps();
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    try {
      return open_checkpoint(path(*step));
    } catch (const Error& error) {
      skipped(fmt::format("checkpoint step-{} is damaged and passed over: {}", *step, error.what()));
    }
  }
  return std::nullopt;
}

TrainedState CheckpointStore::load(const SavedRun& run, const CheckpointLayout& layout) const {
  TrainedState trained;
  trained.weights = read_adapter(PeftConfig::read(run.path), layout.spec, layout.num_labels).values;
  auto file = SafetensorsFile::open(run.path / kOptimizer);
  if (const TrainableLayout all = trained_layout(layout); all.auxiliary) {
    HostTensor head = file->tensor(kAuxiliary);
    if (const Shape& expected = all.parameters[*all.auxiliary].shape; head.shape() != expected)
      fail("{}: '{}' has shape {}, expected {}: data.columns.auxiliary now has another number of classes",
           (run.path / kOptimizer).string(), kAuxiliary, to_string(head.shape()), to_string(expected));
    trained.weights.push_back(std::move(head));
  }
  auto read = [&](const char* prefix, std::vector<HostTensor>& values) {
    for (const std::string& name : optimizer_names(layout, prefix)) values.push_back(file->tensor(name));
  };
  read("m.", trained.m);
  read("v.", trained.v);
  if (file->tensors().contains(kLossScale)) {
    const HostTensor scale = file->tensor(kLossScale);
    const bool right = scale.dtype() == DType::kF32 && scale.shape() == Shape{2} && !first_not_finite(scale) &&
                       scale.as<float>()[0] > 0 && scale.as<float>()[1] >= 0;
    if (!right)
      fail("{}: '{}' is not what it should be, a scale above 0 and a number of steps: the file is damaged",
           (run.path / kOptimizer).string(), kLossScale);
    trained.loss_scale = {scale.as<float>()[0], scale.as<float>()[1]};
  }
  return trained;
}

void CheckpointStore::prune(int64_t keep_last, std::optional<int64_t> best) const {
  std::vector<int64_t> all = steps();
  int64_t removed = static_cast<int64_t>(all.size()) - keep_last;
  for (int64_t i = 0; i < removed; ++i)
    if (all[static_cast<size_t>(i)] != best) remove_folder(path(all[static_cast<size_t>(i)]));
}

void CheckpointStore::set_aside_after(int64_t step) const {
  std::error_code ignored;
  for (int64_t found : steps())
    if (found > step) {
      fs::path aside = folder_ / fmt::format("damaged-step-{}", found);
      fs::remove_all(aside, ignored);
      fs::rename(path(found), aside, ignored);
    }
}

void CheckpointStore::clean() const {
  remove_leftovers(folder_);
}

}  // namespace gavel
