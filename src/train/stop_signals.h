#pragma once
#include <atomic>
#include <csignal>
#include <thread>

namespace gavel {

/** Takes SIGINT, SIGTERM and SIGHUP (a closed terminal; not under nohup) for as long as it lives, on a thread of its
 * own, so that no code runs inside a signal handler. Make it before other threads: they inherit the mask that keeps
 * these signals from them. SIGPIPE (the reader of our output went away) is ignored.
 *
 * Until defer() a signal ends the process at once (exit status 128 + signal). After it, the first signal is
 * only noted, for the run to save and stop; the second ends the process at once. Ending at once harms no
 * file, since files and folders are written under another name first. */
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void defer() { deferring_ = true; }
  /** The first signal that came, or 0. */
  int received() const { return received_; }

 private:
  void watch();

  sigset_t before_{};
  struct sigaction pipe_before_{};
  int signals_ = -1;  // signalfd
  int end_ = -1;      // eventfd
  std::atomic<bool> deferring_ = false;
  std::atomic<int> received_ = 0;
  std::thread thread_;
};

/** "SIGINT", "SIGTERM" or "SIGHUP". */
const char* signal_name(int signal);

}  // namespace gavel
