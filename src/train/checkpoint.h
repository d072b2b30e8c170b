#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/adapter.h"
#include "train/run_identity.h"
#include "train/run_state.h"

namespace gavel {

/** What a checkpoint's tensors belong to, and what is written beside them. */
struct CheckpointLayout {
  DecoderSpec spec;
  AdapterConfig adapter;
  int64_t num_labels = 3;
  /** Of the auxiliary head, whose weight is the last of the tensors and is not in the adapter; 0: there is none. */
  int64_t auxiliary_outputs = 0;
  /** Text of recipe.yaml, so that a checkpoint's folder can be used as a trained judge. */
  std::string recipe;
};

/** The weights that an adapter's files hold, of all that is trained. */
std::vector<HostTensor> adapter_weights(const CheckpointLayout& layout, std::vector<HostTensor> trained);

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
  /** Steps of the checkpoints that are there, rising, whether or not they are whole. */
  std::vector<int64_t> steps() const;

  /** Writes step-N for state.step; synced to disk when it returns. Throws Error when that fails, and leaves
   * all that was there. */
  void save(const CheckpointLayout& layout, const RunState& state, const RunIdentity& identity,
            const TrainedState& trained) const;

  /** The newest whole checkpoint; nullopt when there is none. `skipped` gets a message for each damaged one passed
   * over. */
  std::optional<SavedRun> newest(const std::function<void(const std::string&)>& skipped) const;
  /** Tensors of a saved run, bit for bit. Throws Error when they do not fit the layout. */
  TrainedState load(const SavedRun& run, const CheckpointLayout& layout) const;

  /** Removes all checkpoints but the newest `keep_last` and that of step `best`. Throws Error when that fails. */
  void prune(int64_t keep_last, std::optional<int64_t> best) const;
  /** Gives folders after `step` the name damaged-step-N, so that they neither count nor get lost. */
  void set_aside_after(int64_t step) const;
  /** Removes what killed processes left half-written. */
  void clean() const;

 private:
  std::filesystem::path folder_;
};

/** Compares sizes and checksums with checksums.json and reads state.json, whose numbers are checked. Throws Error naming what is
 * wrong. */
SavedRun open_checkpoint(const std::filesystem::path& path);

}  // namespace gavel
