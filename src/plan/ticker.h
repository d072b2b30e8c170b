#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace gavel {

/** Says every so many seconds how long a piece of work has taken, until it is destroyed: a compiler tells nothing of its own
 * for minutes. say(text) is called from another thread. */
class Ticker {
 public:
  Ticker(std::function<void(const std::string&)> say, std::string what, double every_seconds);
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace gavel
