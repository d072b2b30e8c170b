#pragma once
#include <chrono>

namespace gavel {

/** Seconds since some fixed time, for measuring how long something takes. */
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/** Seconds since 1970, as files note them. */
inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace gavel
