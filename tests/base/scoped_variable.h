#pragma once
#include <cstdlib>
#include <string>
#include <utility>

namespace gavel {

/** Sets an environment variable for one test. */
class ScopedVariable {
 public:
  ScopedVariable(std::string name, const std::string& value) : name_(std::move(name)) {
    const char* old = std::getenv(name_.c_str());
    if (old != nullptr) old_ = old;
    had_ = old != nullptr;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~ScopedVariable() { had_ ? ::setenv(name_.c_str(), old_.c_str(), 1) : ::unsetenv(name_.c_str()); }

 private:
  std::string name_;
  std::string old_;
  bool had_ = false;
};

}  // namespace gavel
