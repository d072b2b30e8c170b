#include "train/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"

namespace gavel {

namespace {

[[noreturn]] void end_at_once(int signal) {
  spdlog::default_logger()->flush();
  ::_exit(128 + signal);
}

}  // namespace

const char* signal_name(int signal) {
  return signal == SIGINT ? "SIGINT" : "SIGTERM";
}

StopSignals::StopSignals() {
  sigset_t taken;
  ::sigemptyset(&taken);
  ::sigaddset(&taken, SIGINT);
  ::sigaddset(&taken, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &taken, &before_);
  signals_ = ::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  end_ = ::eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || end_ < 0) fail("signals can't be watched: {}", std::strerror(errno));
  thread_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(end_, &one, sizeof one);
  thread_.join();
  ::close(signals_);
  ::close(end_);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void StopSignals::watch() {
  for (;;) {
    pollfd watched[] = {{signals_, POLLIN, 0}, {end_, POLLIN, 0}};
    if (::poll(watched, 2, -1) < 0 && errno != EINTR) return;
    if (watched[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signals_, &info, sizeof info) != sizeof info) continue;
    auto signal = static_cast<int>(info.ssi_signo);
    if (!deferring_ || received_ != 0) end_at_once(signal);
    received_ = signal;
    spdlog::warn("{}: finishing this step and saving; once more stops at once", signal_name(signal));
  }
}

}  // namespace gavel
