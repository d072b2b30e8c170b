#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/adapter.h"
#include "engine/engine.h"
#include "train/run_identity.h"
#include "train/run_state.h"

namespace gavel {

/** What a checkpoint's tensors belong to. */
struct CheckpointLayout {
  DecoderSpec spec;
  AdapterConfig adapter;
  int64_t num_labels = 3;
  /** recipe.yaml, so that the folder can be judged with as it is. */
  std::string recipe;
};

/** A checkpoint on disk whose checksums are right. */
struct SavedRun {
  std::filesystem::path path;
  RunState state;
  RunIdentity identity;
};

/** A run's checkpoints: folders step-N (docs/files.md), each of which appears whole or not at all. */
class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path(int64_t step) const { return folder_ / fmt::format("step-{}", step); }
  /** Of the folders that are there, rising; whether they are whole is not looked at. */
  std::vector<int64_t> steps() const;

  /** Writes step-N for state.step; synced to disk when it returns. Throws Error when that fails, and leaves
   * all that was there. */
  void save(const CheckpointLayout& layout, const RunState& state, const RunIdentity& identity,
            const TrainedState& trained) const;

  /** The newest whole checkpoint. `skipped` is told why each damaged one was passed over. */
  std::optional<SavedRun> newest(const std::function<void(const std::string&)>& skipped) const;
  /** Tensors of a saved run, bit for bit. Throws when they do not fit the layout. */
  TrainedState load(const SavedRun& run, const CheckpointLayout& layout) const;

  /** Removes all but the newest `keep_last` and `best`. */
  void prune(int64_t keep_last, std::optional<int64_t> best) const;
  /** Gives folders after `step` the name damaged-step-N, so that they neither count nor get lost. */
  void set_aside_after(int64_t step) const;
  /** Removes what killed processes left half-written. */
  void clean() const;

 private:
  std::filesystem::path folder_;
};

/** Compares sizes and checksums with checksums.json and reads state.json. Throws Error naming what is wrong.
 */
SavedRun open_checkpoint(const std::filesystem::path& path);

}  // namespace gavel
