#include "cluster/process_group.h"

#include <cstdlib>

#include "base/error.h"
#include "cluster/pmix_store.h"

namespace gavel {

namespace {

// A message of the launcher's holds no more than 16 MB (ptl_base_max_msg_size of OpenPMIx).
constexpr size_t kPieceBytes = size_t{4} << 20;

}  // namespace

int launched_processes() {
  // srun sets its variables with or without --mpi=pmix; inside a job that mpirun starts, mpirun's count.
  for (const char* size : {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"})
    if (const char* count = std::getenv(size)) return std::atoi(count);
  // Another launcher with PMIx: it will say how many.
  return std::getenv("PMIX_NAMESPACE") != nullptr ? 2 : 1;
}

ProcessGroup join_process_group() {
  if (launched_processes() <= 1) return {};
  ProcessGroup group = join_with_pmix();
  if (group.count == 1) group.store.reset();
  return group;
}

Exchange::Exchange(ProcessGroup group, std::string name, int timeout_ms)
    : group_(std::move(group)), name_(std::move(name)), timeout_ms_(timeout_ms) {}

std::string Exchange::key(int64_t round, int process, size_t piece) const {
  return fmt::format("exchange/{}/{}/{}/{}", name_, round, process, piece);
}

std::vector<std::string> Exchange::operator()(const std::string& own) {
  if (!group_.store) return {own};
  const int64_t round = round_++;
  KeyValueStore& store = *group_.store;
  // The first piece says how many there are.
  const size_t pieces = std::max<size_t>(1, (own.size() + kPieceBytes - 1) / kPieceBytes);
  for (size_t piece = 0; piece < pieces; ++piece) {
    std::string text = own.substr(piece * kPieceBytes, kPieceBytes);
    store.put(key(round, group_.index, piece), piece == 0 ? fmt::format("{} {}", pieces, text) : text);
  }
  std::vector<std::string> all(static_cast<size_t>(group_.count));
  for (int process = 0; process < group_.count; ++process) {
    std::string& text = all[static_cast<size_t>(process)];
    if (process == group_.index) {
      text = own;
      continue;
    }
    std::string first = store.get(key(round, process, 0), timeout_ms_);
    size_t space = first.find(' ');
    if (space == std::string::npos) fail("process {}: '{}' is no part of exchange {}", process, first, name_);
    size_t count = std::stoul(first.substr(0, space));
    text = first.substr(space + 1);
    for (size_t piece = 1; piece < count; ++piece) text += store.get(key(round, process, piece), timeout_ms_);
  }
  // All have put this round, so all have read the last one.
  if (round > 0)
    for (size_t piece = 0; piece < last_pieces_; ++piece) store.erase(key(round - 1, group_.index, piece));
  last_pieces_ = pieces;
  return all;
}

std::string Announcement::operator()(const std::string& own) {
  if (!group_.store) return own;
  constexpr int64_t kKept = 64;
  constexpr int kTimeoutMs = 3'600'000;
  const int64_t round = round_++;
  auto key = [&](int64_t number) { return fmt::format("announcement/{}/{}", name_, number); };
  if (!group_.is_first()) return group_.store->get(key(round), kTimeoutMs);
  group_.store->put(key(round), own);
  if (round >= kKept) group_.store->erase(key(round - kKept));
  return own;
}

void require_same(const ProcessGroup& group, const std::string& name, const std::string& text,
                  const std::string& what) {
  std::vector<std::string> all = Exchange(group, name)(text);
  for (size_t process = 1; process < all.size(); ++process)
    if (all[process] != all[0])
      fail("{} of process {} differs from that of process 0: all processes of a run need the same", what, process);
}

}  // namespace gavel
