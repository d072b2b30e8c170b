#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/append.h"
#include "base/atomic_folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "report/metrics.h"
#include "train/checkpoint.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLock = ".lock";
/** What a run replaces as a whole. */
constexpr const char* kFiles[] = {"recipe.yaml",
                                  "run.json",
                                  "metrics.jsonl",
                                  "validation.jsonl",
                                  "loss.svg",
                                  "report.html",
                                  "adapter_config.json",
                                  "tokenizer.json",
                                  "adapter_model.safetensors",
                                  "tokenizer_config.json",
                                  "special_tokens_map.json"};

/** Whether the folder holds a run of ours that ended, or was killed, before its first step was done: nothing is lost with it.
 * `checkpoints`: its folder of them. */
bool holds_no_step(const fs::path& folder, const fs::path& checkpoints) {
  if (fs::exists(folder / "study.json") || fs::exists(folder / "adapter_model.safetensors")) return false;
  if (!fs::exists(folder / "run.json")) return false;
  const auto record = nlohmann::json::parse(read_json_text(folder / "run.json"), nullptr, false);
  if (!record.is_object() || !record.contains("status") || !record.contains("step") || record["step"] != 0)
    return false;
  for (int64_t step : CheckpointStore(checkpoints).steps())
    if (step > 0) return false;
  if (!fs::exists(folder / "metrics.jsonl")) return true;
  const std::vector<MetricRow> rows = read_metrics(folder / "metrics.jsonl");
  return std::ranges::none_of(
      rows, [](const MetricRow& row) { return row[0] == std::pair<std::string, MetricValue>("kind", "train"); });
}

/** What such a run has left. */
void remove_stepless_run(const fs::path& folder, const fs::path& checkpoints) {
  for (const char* name : kFiles) fs::remove(folder / name);
  std::vector<fs::path> events;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) events.push_back(entry.path());
  for (const fs::path& file : events) fs::remove(file);
  const CheckpointStore store(checkpoints);
  for (int64_t step : store.steps()) remove_folder(store.path(step));
  std::error_code not_empty;
  fs::remove(checkpoints, not_empty);
}

}  // namespace

RunFolder::RunFolder(fs::path path, Existing existing) : path_(std::move(path)) {
  std::error_code unknown;
  made_ = !fs::exists(path_, unknown);
  make_folder(path_);
  lock();
  if (existing == Existing::kRefuse && holds_no_step(path_, checkpoints())) remove_stepless_run(path_, checkpoints());
  std::string found;
  for (const char* name : {"study.json", "metrics.jsonl", "adapter_model.safetensors", "recipe.yaml", "checkpoints"})
    if (fs::exists(path_ / name) && found.empty()) found = name;
  const bool study = found == "study.json";
  bool refused = study ? true
                 : existing == Existing::kRefuse
                     ? !found.empty()
                     : fs::exists(path_ / "adapter_model.safetensors") && !fs::exists(checkpoints());
  if (!refused) {
    for (const char* name : kFiles) remove_unfinished(path_ / name);
    return;
  }
  // The destructor does not run.
  ::unlink((path_ / kLock).c_str());
  ::close(lock_);
  if (study)
    fail("output: {} holds the runs of gavel folds or gavel sweep; choose another folder, or call that command again",
         path_.string());
  if (existing == Existing::kResume)
    fail(
        "output: {} holds a finished run without checkpoints, from which nothing can go on; choose another "
        "folder",
        path_.string());
  fail(
      "output: {} holds a run already ({} is there); go on with it (--resume), choose another folder or "
      "remove it",
      path_.string(), found);
}

RunFolder::~RunFolder() {
  if (is_there()) {
    ::unlink((path_ / kLock).c_str());
    // A run that was refused leaves no folder behind.
    std::error_code not_empty;
    if (made_) fs::remove(path_, not_empty);
  }
  ::close(lock_);
}

void RunFolder::lock() {
  fs::path lock = path_ / kLock;
  for (;;) {
    lock_ = open_to_write(lock, O_RDWR);
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      ::close(lock_);
      fail("output: {} is in use by another run", path_.string());
    }
    // A run that ended between our opening and our locking has removed the file that we hold.
    if (is_at(lock_, lock)) return;
    ::close(lock_);
  }
}

bool RunFolder::is_there() const {
  return is_at(lock_, path_ / kLock);
}

void RunFolder::restore() {
  make_folder(path_);
  int old = lock_;
  try {
    lock();
  } catch (...) {
    lock_ = old;
    throw;
  }
  ::close(old);
}

}  // namespace gavel
