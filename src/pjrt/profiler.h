#pragma once
#include <memory>
#include <string>

#include "pjrt/plugin.h"

namespace gavel::pjrt {

namespace profiler_abi {
struct Api;
struct Error;
struct Profiler;
}  // namespace profiler_abi

/** A recording by a plugin's own profiler, of what its devices do. It begins with the object; only one may be at a time.
 * Every function throws Error with the plugin's words when the plugin reports an error. */
class Profiler {
 public:
  /** nullptr when the plugin has none. */
  static std::unique_ptr<Profiler> start(const Plugin& plugin);
  /** The same from the table of functions itself; `name` stands in messages. */
  Profiler(const profiler_abi::Api& api, std::string name);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /** Ends the recording, and gives it as a serialised XSpace. */
  std::string stop();

 private:
  void check(profiler_abi::Error* error, const char* what) const;

  const profiler_abi::Api& api_;
  std::string name_;
  profiler_abi::Profiler* handle_ = nullptr;
  bool running_ = false;
};

}  // namespace gavel::pjrt
