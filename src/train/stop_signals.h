#pragma once
#include <atomic>
#include <csignal>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace gavel {

/** Takes SIGINT, SIGTERM and SIGHUP (a closed terminal; not under nohup) for as long as it lives, on a thread of its
 * own, so that no code runs inside a signal handler. Make it before other threads: they inherit the mask that keeps
 * these signals from them. SIGPIPE (the reader of our output went away) is ignored.
 *
 * Until defer() a signal ends the process at once (exit status 128 + signal). After it, the first signal is
 * only noted, for the run to save and stop; the second ends the process at once. Ending at once harms no
 * file, since files and folders are written under another name first. Commands that only read and write one file use it
 * to leave a clean line and say how to go on. */
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void defer() { deferring_ = true; }
  /** What to say, behind a semicolon, when a signal ends the process at once; called on the thread of the signals. */
  void advise(std::function<std::string()> advice);
  /** The first signal that came, or 0. */
  int received() const { return received_; }

 private:
  void watch();
  [[noreturn]] void end_at_once(int signal);

  sigset_t before_{};
  struct sigaction pipe_before_{};
  int signals_ = -1;  // signalfd
  int end_ = -1;      // eventfd
  std::atomic<bool> deferring_ = false;
  std::atomic<int> received_ = 0;
  std::mutex mutex_;
  std::function<std::string()> advice_;
  std::thread thread_;
};

/** "SIGINT", "SIGTERM" or "SIGHUP". */
const char* signal_name(int signal);

}  // namespace gavel
