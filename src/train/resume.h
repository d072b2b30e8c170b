#pragma once
#include <functional>
#include <optional>
#include <string>

#include "train/checkpoint.h"
#include "train/run_folder.h"

namespace gavel {

/** The checkpoint that a run of this identity goes on from; nullopt when the folder has none. Throws Error when all are
 * damaged. When settings or files differ from the checkpoint's, it throws Error that names each of them, or with
 * `allow_changes` calls `warn` with each. */
std::optional<SavedRun> find_saved_run(const RunFolder& folder, const RunIdentity& identity, bool allow_changes,
                                       const std::function<void(const std::string&)>& warn);

/** Brings the folder back to where the checkpoint stood (nullopt: to the start): later checkpoints are set
 * aside, later lines of metrics.jsonl and scalars of event files cut off. */
void rewind_folder(const RunFolder& folder, const std::optional<SavedRun>& saved);

}  // namespace gavel
