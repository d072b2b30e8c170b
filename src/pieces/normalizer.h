#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** What tokenizer.json's "normalizer" does to a text before it is cut into pieces. Immutable. */
class Normalizer {
 public:
  struct Step {
    enum class Type { kReplace, kPrepend, kNfc, kNfkc } type;
    std::string pattern;  // kReplace: plain text, not empty
    std::string content;  // kReplace, kPrepend
  };

  Normalizer() = default;
  explicit Normalizer(std::vector<Step> steps);

  bool empty() const { return steps_.empty(); }
  const std::vector<Step>& steps() const { return steps_; }
  /** The text (valid UTF-8) after all steps: itself when nothing changes, else in one of the buffers. */
  std::string_view run(std::string_view text, std::array<std::string, 2>& buffers) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace gavel
