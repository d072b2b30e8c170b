#include "cluster/process_group.h"

#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>

#include "base/error.h"
#include "base/own_files.h"
#include "cluster/launcher.h"

namespace gavel {

namespace {

// A message of the launcher's holds no more than 16 MB (ptl_base_max_msg_size of OpenPMIx).
constexpr size_t kPieceBytes = size_t{4} << 20;

/** What the library throws, as Errors. */
template <class Action>
auto as_errors(Action&& action) {
  try {
    return action();
  } catch (const std::exception& error) {
    fail("{}", error.what());
  }
}

/** The store of gavel_pmix.so. */
class LaunchedStore final : public KeyValueStore {
 public:
  explicit LaunchedStore(KeyValueStore* store) : store_(store) {}
  void put(const std::string& key, const std::string& value) override {
    as_errors([&] { store_->put(key, value); });
  }
  std::string get(const std::string& key, int timeout_ms) override {
    return as_errors([&] { return store_->get(key, timeout_ms); });
  }
  std::optional<std::string> try_get(const std::string& key) override {
    return as_errors([&] { return store_->try_get(key); });
  }
  void erase(const std::string& key) override {
    as_errors([&] { store_->erase(key); });
  }

 private:
  std::unique_ptr<KeyValueStore> store_;
};

ProcessGroup join_with_pmix() {
  constexpr const char* kNeeded =
      "the environment says that this process is one of several that a launcher started, and to meet them";
  const auto path = own_library("gavel_pmix.so");
  if (!path) fail("{} gavel_pmix.so is needed, which is not beside the program: build or install Gavel anew", kNeeded);
  // Never closed: PMIx has threads of its own. Global: its own modules look for its functions.
  void* library = ::dlopen(path->c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr)
    fail("{} PMIx is needed ({}): install it (on Debian: apt-get install libpmix2)", kNeeded, ::dlerror());
  auto join = reinterpret_cast<JoinPmix>(::dlsym(library, "gavel_join_pmix"));
  if (join == nullptr) fail("{}: is of another build: build or install Gavel anew", path->string());
  const Launched launched = as_errors([&] { return join(); });
  ProcessGroup group;
  group.index = launched.index;
  group.count = launched.count;
  group.store = std::make_shared<LaunchedStore>(launched.store);
  return group;
}

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
