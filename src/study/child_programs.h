#pragma once
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace gavel {

/** Runs programs one after the other, each as a child of this process with its standard input and output, environment and
 * current folder, and hands SIGINT, SIGTERM and SIGHUP (unless it is ignored) on to the one that runs. A child stands in a
 * process group of its own, so that a terminal's Ctrl-C reaches it once; it gets SIGTERM when this process dies.
 *
 * Make it before other threads, which inherit the mask that keeps these signals from them. */
class ChildPrograms {
 public:
  explicit ChildPrograms(std::filesystem::path program);
  ~ChildPrograms();
  ChildPrograms(const ChildPrograms&) = delete;
  ChildPrograms& operator=(const ChildPrograms&) = delete;

  /** Waits for its end. Returns its exit status, or 128 + the signal that ended it. Throws Error when it can't be started. */
  int run(const std::vector<std::string>& arguments);
  /** The first signal that this process was sent, also between two children; 0: none. */
  int stop_signal();

 private:
  std::filesystem::path program_;
  sigset_t taken_{}, before_{};
  struct sigaction child_before_{};
  int stop_signal_ = 0;
};

}  // namespace gavel
