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

/** How many processes of this job a launcher started, as its environment variables tell, or at least how many: 1 without a
 * launcher. Connects to nothing. */
int launched_processes();

/** The processes that a launcher (mpirun, prterun or srun --mpi=pmix) started, as its environment variables tell; a
 * single process without a launcher, or when it started just one. Throws Error when there are several and they can't
 * meet. To be called once: the connection ends with the last copy of `store`. */
ProcessGroup join_process_group();

/** At each call every process gives a text and receives all of them, in the order of the processes. Each process must
 * make the same Exchanges, each with a name of its own, and call each as often as the others do. A process waits up to
 * `timeout_ms` for the others, then throws Error. Without a store it gets only its own text. */
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

/** At each call every process receives the text that process 0 gave; what the others give is ignored. All must call it
 * equally often. Process 0 does not wait; the others must not fall more than 64 calls behind it, and throw Error after
 * an hour without an answer. Without a store each gets its own text back. */
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

/** Throws Error in all processes when one gives another text than process 0. `what` says in the message what differs;
 * `name` is that of an Exchange. */
void require_same(const ProcessGroup& group, const std::string& name, const std::string& text, const std::string& what);

}  // namespace gavel
