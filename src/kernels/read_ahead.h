#pragma once
#include <algorithm>
#include <cstdint>

namespace gavel {

/** Memory that is about to be read from its begin to its end, asked for a little at a time beside other work: where
 * many rows are read at once the processor foresees nothing by itself, and many requests at a time would wait for one
 * another. */
class ReadAhead {
 public:
  ReadAhead(const char* from, const char* end) : from_(from), end_(end - from) {}

  /** Asks for as many further bytes. */
  [[gnu::always_inline]] void ask(int64_t bytes) {
    constexpr int64_t kLine = 64;
    goal_ = std::min(goal_ + bytes, end_);
    for (; asked_ < goal_; asked_ += kLine) __builtin_prefetch(from_ + asked_, 0, 2);
  }

 private:
  const char* from_;
  int64_t end_, goal_ = 0, asked_ = 0;
};

}  // namespace gavel
