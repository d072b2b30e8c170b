#include "train/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "base/terminal.h"

namespace gavel {

namespace {

/** Takes a progress bar, and the terminal's own ^C behind it, off the line. */
void leave_bar() {
  constexpr std::string_view kErase = "\r\x1b[K";
  if (!stderr_is_terminal()) return;
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, kErase.data(), kErase.size());
}

bool is_ignored(int signal) {
  struct sigaction now{};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

const char* signal_name(int signal) {
  return signal == SIGINT ? "SIGINT" : signal == SIGHUP ? "SIGHUP" : "SIGTERM";
}

StopSignals::StopSignals() {
  sigset_t taken;
  ::sigemptyset(&taken);
  ::sigaddset(&taken, SIGINT);
  ::sigaddset(&taken, SIGTERM);
  if (!is_ignored(SIGHUP)) ::sigaddset(&taken, SIGHUP);
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &pipe_before_);
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
  ::sigaction(SIGPIPE, &pipe_before_, nullptr);
}

void StopSignals::advise(std::function<std::string()> advice) {
  const std::lock_guard lock(mutex_);
  advice_ = std::move(advice);
}

void StopSignals::end_at_once(int signal) {
  std::string advice = "what was saved before is whole";
  {
    const std::lock_guard lock(mutex_);
    try {
      if (advice_) advice = advice_();
    } catch (const std::exception&) {
      // The process ends all the same.
    }
  }
  // Not through the logger: another thread may be inside it, held up by a terminal.
  const std::string text = fmt::format("{}: stopped at once; {}\n", signal_name(signal), advice);
  leave_bar();
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(128 + signal);
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
    leave_bar();
    spdlog::warn("{}: finishing this step and saving; once more stops at once", signal_name(signal));
  }
}

}  // namespace gavel
