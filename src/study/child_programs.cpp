#include "study/child_programs.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/error.h"

namespace gavel {

namespace {

/** What a shell says of a program that it can't start. */
constexpr int kNotStarted = 127;

/** In the child, between fork and exec: only calls that are safe there. */
[[noreturn]] void become(char* const* arguments, const sigset_t& mask, pid_t parent) {
  ::setpgid(0, 0);
  // Standard output is for the study's own result.
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  // A terminal may stop those that write and are not of the group in front (stty tostop).
  ::signal(SIGTTOU, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(128 + SIGTERM);  // it died before the line above
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  ::execv(arguments[0], arguments);
  ::_exit(kNotStarted);
}

}  // namespace

ChildPrograms::ChildPrograms(std::filesystem::path program) : program_(std::move(program)) {
  if (program_.empty())
    fail("/proc/self/exe can't be read: the program's own file is needed, to start a run of its own");
  ::sigemptyset(&taken_);
  for (int signal : {SIGINT, SIGTERM, SIGCHLD}) ::sigaddset(&taken_, signal);
  struct sigaction hang_up{};
  if (::sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN) ::sigaddset(&taken_, SIGHUP);
  // A parent that ignored it would let us wait for no child.
  struct sigaction usual{};
  usual.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &usual, &child_before_);
  ::pthread_sigmask(SIG_BLOCK, &taken_, &before_);
}

ChildPrograms::~ChildPrograms() {
  ::sigaction(SIGCHLD, &child_before_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int ChildPrograms::stop_signal() {
  const timespec none{};
  siginfo_t info{};
  while (::sigtimedwait(&taken_, &info, &none) > 0)
    if (info.si_signo != SIGCHLD && stop_signal_ == 0) stop_signal_ = info.si_signo;
  return stop_signal_;
}

int ChildPrograms::run(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {program_.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : all) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) fail("{}: can't be started: {}", program_.string(), std::strerror(errno));
  if (child == 0) become(pointers.data(), before_, parent);
  ::setpgid(child, child);  // both do it: whoever is first
  int status = 0;
  for (;;) {
    siginfo_t info{};
    if (::sigwaitinfo(&taken_, &info) < 0) continue;
    if (info.si_signo != SIGCHLD) {
      if (stop_signal_ == 0) stop_signal_ = info.si_signo;
      ::kill(child, info.si_signo);
    } else if (::waitpid(child, &status, WNOHANG) == child) {
      break;
    }
  }
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  if (WEXITSTATUS(status) == kNotStarted) fail("{}: can't be started", program_.string());
  return WEXITSTATUS(status);
}

}  // namespace gavel
