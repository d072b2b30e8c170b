#include "study/study_folder.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/append.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "cluster/process_group.h"
#include "io/model_path.h"
#include "setup/data_files.h"
#include "setup/open_model.h"
#include "train/checkpoint.h"
#include "train/run_identity.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kStudy = "study.json";

Json run_info(const fs::path& folder) {
  if (!fs::exists(folder / "run.json")) return Json::object();
  Json info = Json::parse(read_json_text(folder / "run.json"), nullptr, false);
  return info.is_object() ? info : Json::object();
}

}  // namespace

StudyFolder::StudyFolder(fs::path path, const std::string& kind, const Recipe& recipe,
                         const std::vector<std::pair<std::string, std::string>>& settings)
    : path_(std::move(path)) {
  make_folder(path_);
  const fs::path lock = path_ / ".lock";
  lock_ = open_to_write(lock, O_RDWR);
  try {
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) fail("{} is in use by another gavel {}", path_.string(), kind);
    remove_unfinished(path_ / kStudy);
    check(kind, recipe, settings);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

StudyFolder::~StudyFolder() {
  ::close(lock_);
}

void StudyFolder::check(const std::string& kind, const Recipe& recipe,
                        const std::vector<std::pair<std::string, std::string>>& settings) const {
  const fs::path file = path_ / kStudy;
  if (!fs::exists(file))
    for (const char* name : {"metrics.jsonl", "adapter_model.safetensors", "model.safetensors", "checkpoints"})
      if (fs::exists(path_ / name))
        fail("output: {} holds a run or a model already ({} is there); choose another folder for gavel {}",
             path_.string(), name, kind);
  Recipe same = recipe;
  same.output = path_.string();
  const RunIdentity identity = identify(same);
  if (!fs::exists(file)) {
    Json json = {{"format", 1}, {"kind", kind}, {"settings", Json::object()}, {"identity", to_json(identity)}};
    for (const auto& [name, value] : settings) json["settings"][name] = value;
    write_file(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }
  std::vector<std::string> differing;
  try {
    const Json json = Json::parse(read_json_text(file));
    if (json.at("kind") != kind)
      fail("output: {} holds the runs of gavel {}; choose another folder", path_.string(),
           json.at("kind").get<std::string>());
    differing = changes(run_identity_from_json(json.at("identity"), file.string()), identity);
    for (const auto& [name, value] : settings)
      if (const std::string was = json.at("settings").value(name, ""); was != value)
        differing.push_back(fmt::format("{}: {} → {}", name, was, value));
  } catch (const Json::exception& error) {
    fail("{}: is not what gavel {} writes ({}); choose another folder", file.string(), kind, error.what());
  }
  if (!differing.empty())
    fail("{} has runs of gavel {} with other settings or files:\n  {}\nPut them back, or choose another folder",
         path_.string(), kind, fmt::join(differing, "\n  "));
}

bool StudyRun::is_finished() const {
  const Json info = run_info(folder);
  const std::string status = info.contains("status") && info["status"].is_string() ? info["status"] : "";
  return (status == "finished" || status == "stopped") && fs::exists(folder / "adapter_model.safetensors");
}

int64_t StudyRun::steps_done() const {
  const std::vector<int64_t> steps = CheckpointStore(folder / "checkpoints").steps();
  return steps.empty() ? 0 : steps.back();
}

std::string StudyRun::message() const {
  const Json info = run_info(folder);
  return info.contains("message") && info["message"].is_string() ? info["message"].get<std::string>() : "";
}

int train_run(ChildPrograms& children, const StudyRun& run, const StudyStart& start, int64_t until) {
  Recipe recipe = run.recipe;
  recipe.output = run.folder.string();
  recipe.train.resume = Recipe::Resume::kAuto;
  make_folder(run.folder);
  write_file(run.folder / "recipe.yaml", to_yaml(recipe));
  std::vector<std::string> arguments;
  if (start.quiet) arguments.emplace_back("--quiet");
  arguments.insert(arguments.end(), {"train", (run.folder / "recipe.yaml").string()});
  if (until > 0) arguments.insert(arguments.end(), {"--until", std::to_string(until)});
  return children.run(arguments);
}

void require_one_process() {
  if (launched_processes() > 1)
    fail(
        "a launcher started several processes of this: runs of several processes are begun one by one, with gavel "
        "train");
}

void require_files(const Recipe& recipe) {
  auto require = [](const char* key, const fs::path& path) {
    if (!fs::exists(path)) fail("{}: {} is not there", key, path.string());
  };
  for (const auto& [key, path] : data_paths(recipe)) require(key.c_str(), path);
  fetch_base_model(recipe);
  if (!recipe.model.random_init) require("model.path", resolve_model_path(recipe.model.path));
  if (recipe.model.tokenizer) require("model.tokenizer", *recipe.model.tokenizer);
  if (recipe.lora.init_adapter) require("lora.init_adapter", *recipe.lora.init_adapter);
}

}  // namespace gavel
