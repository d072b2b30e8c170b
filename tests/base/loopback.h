#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace gavel {

/** Whether a program can reach another on this machine by 127.0.0.1: not so in a bare network namespace, whose loopback
 * interface is down. */
inline bool has_loopback() {
  int listener = ::socket(AF_INET, SOCK_STREAM, 0), caller = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  bool reached = ::bind(listener, any, size) == 0 && ::listen(listener, 1) == 0 &&
                 ::getsockname(listener, any, &size) == 0 && ::connect(caller, any, size) == 0;
  ::close(listener);
  ::close(caller);
  return reached;
}

constexpr const char* kNoLoopback = "127.0.0.1 can't be reached here (ip link set lo up)";

}  // namespace gavel
