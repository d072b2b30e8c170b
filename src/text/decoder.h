#pragma once
#include <string>
#include <vector>

namespace gavel {

/** How the strings of tokens become a text again, as tokenizer.json's "decoder" says it where it is not ByteLevel
 * alone. Immutable. */
class Decoder {
 public:
  struct Step {
    enum class Type { kReplace, kByteFallback, kFuse, kStrip, kMetaspace, kByteLevel } type;
    std::string pattern;     // kReplace; kStrip and kMetaspace: one character
    std::string content;     // kReplace
    size_t start = 0;        // kStrip: as many characters at most
    size_t stop = 0;         // kStrip
    bool drop_first = true;  // kMetaspace: the first token's spaces vanish
  };

  Decoder() = default;
  explicit Decoder(std::vector<Step> steps) : steps_(std::move(steps)) {}
  const std::vector<Step>& steps() const { return steps_; }

  /** The text of tokens (valid UTF-8). */
  std::string run(std::vector<std::string> tokens) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace gavel
