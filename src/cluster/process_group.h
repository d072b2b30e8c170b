#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/key_value.h"

namespace gavel {

/** The place of this process among those of one run, and how they talk. */
struct ProcessGroup {
  int index = 0;
  int count = 1;
  /** Null when there is one process, and on TPU hosts that no launcher started. */
  std::shared_ptr<KeyValueStore> store;

  bool is_first() const { return index == 0; }
};

/** From the launcher's environment: mpirun, prterun or srun --mpi=pmix. Without one of them, or with one
 * process: a single process, and the launcher is not spoken to. Throws Error when there are several and they
 * can't meet. To be called once: the connection ends with the last copy of `store`. */
ProcessGroup join_process_group();

/** All processes give a text and receive everybody's, in the order of the processes; again and again. Each
 * process must make the same Exchanges, of different names, and call each as often as the others do. A
 * process waits for the others up to `timeout_ms` before it throws Error. */
class Exchange {
 public:
  Exchange(ProcessGroup group, std::string name, int timeout_ms = 3'600'000);
  Exchange(const Exchange&) = delete;  // a copy would count its calls anew
  Exchange& operator=(const Exchange&) = delete;
  std::vector<std::string> operator()(const std::string& own);

 private:
  std::string key(int64_t round, int process, size_t piece) const;

  ProcessGroup group_;
  std::string name_;
  int timeout_ms_;
  int64_t round_ = 0;
  size_t last_pieces_ = 0;
};

/** What process 0 gives, for all: each process calls it with the same frequency, and only what process 0 says
 * counts. Process 0 does not wait; the others must not fall more than 64 calls behind it. Without a store
 * each hears itself. */
class Announcement {
 public:
  Announcement(ProcessGroup group, std::string name) : group_(std::move(group)), name_(std::move(name)) {}
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;
  std::string operator()(const std::string& own);

 private:
  ProcessGroup group_;
  std::string name_;
  int64_t round_ = 0;
};

/** Throws Error when a process gave another text than the first: `what` says what differs. */
void require_same(const ProcessGroup& group, const std::string& name, const std::string& text,
                  const std::string& what);

}  // namespace gavel
