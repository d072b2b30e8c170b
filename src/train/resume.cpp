#include "train/resume.h"

#include <fmt/ranges.h>

#include "base/atomic_folder.h"
#include "base/error.h"
#include "report/metrics.h"
#include "report/tensorboard.h"

namespace gavel {

std::optional<SavedRun> find_saved_run(const RunFolder& folder, const RunIdentity& identity, bool allow_changes,
                                       const std::function<void(const std::string&)>& warn) {
  CheckpointStore store(folder.checkpoints());
  std::optional<SavedRun> saved = store.newest(warn);
  if (!saved) {
    if (!store.steps().empty())
      fail("{}: no checkpoint is whole, so that nothing can go on; remove the folder to begin anew",
           store.folder().string());
    return std::nullopt;
  }
  std::vector<std::string> differing = changes(saved->identity, identity);
  // Nothing was trained yet that other settings could contradict.
  if (!differing.empty() && !allow_changes && saved->state.step == 0) {
    warn(saved->path.string() + " is of a run with other settings or files that has not done a step: beginning anew");
    remove_folder(saved->path);
    return std::nullopt;
  }
  if (!differing.empty() && !allow_changes)
    fail(
        "{} was saved by a run with other settings or files:\n  {}\nPut them back, choose another output "
        "folder, or add "
        "--allow-changes to go on all the same",
        saved->path.string(), fmt::join(differing, "\n  "));
  for (const std::string& line : differing) warn("changed since the checkpoint: " + line);
  return saved;
}

void rewind_folder(const RunFolder& folder, const std::optional<SavedRun>& saved) {
  int64_t step = saved ? saved->state.step : 0, evaluated = saved ? saved->state.evaluated_step : -1;
  CheckpointStore(folder.checkpoints()).set_aside_after(saved ? step : -1);
  cut_metrics(folder.file("metrics.jsonl"), step, evaluated);
  cut_events(folder.path(), step, evaluated);
}

}  // namespace gavel
