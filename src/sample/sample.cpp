#include "sample/sample.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/error.h"
#include "base/random.h"
#include "sample/sample_texts.h"

namespace gavel {

namespace {

using detail::Subject;

/** A question with a good answer and a second one that is as good, or has a fault. */
struct Pair {
  std::string prompt, good, other;
};

enum class Kind : uint8_t { kOffTopic, kCutOff, kArithmetic, kTie, kArithmeticTie };

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(mix64(seed)) {}

  Pair make(Kind kind) {
    switch (kind) {
      case Kind::kArithmetic:
      case Kind::kArithmeticTie:
        return arithmetic(kind == Kind::kArithmetic);
      default:
        return about(kind);
    }
  }
  Random& random() { return random_; }

 private:
  template <class Items>
  const auto& pick(const Items& items) {
    return items[random_.below(items.size())];
  }

  /** One or two of the subject's sentences; faulty and good answers draw from the same lengths. */
  std::string facts(const Subject& subject, size_t count, size_t& first) {
    first = random_.below(subject.facts.size());
    std::string out(subject.facts[first]);
    if (count == 2) {
      out += ' ';
      out += subject.facts[(first + 1 + random_.below(3)) % 4];
    }
    return out;
  }

  /** Stops the text in mid-sentence: one to three words and the full stop are missing. */
  std::string cut(std::string text) {
    uint64_t words = 1 + random_.below(3);
    for (uint64_t i = 0; i < words; ++i) text.resize(text.rfind(' '));
    if (text.ends_with('.') || text.ends_with(',')) text.pop_back();
    return text;
  }

  Pair about(Kind kind) {
    const auto subjects = detail::sample_subjects();
    size_t at = random_.below(subjects.size());
    const Subject& subject = subjects[at];
    Pair pair;
    pair.prompt = fmt::format(fmt::runtime(pick(detail::sample_questions())), subject.name);
    size_t first = 0, second = 0;
    size_t good_count = 1 + random_.below(2), other_count = 1 + random_.below(2);
    pair.good = facts(subject, good_count, first);
    switch (kind) {
      case Kind::kOffTopic: {
        size_t elsewhere = (at + 1 + random_.below(subjects.size() - 1)) % subjects.size();
        pair.other = facts(subjects[elsewhere], other_count, second);
        break;
      }
      case Kind::kCutOff:
        pair.other = cut(facts(subject, other_count, second));
        break;
      default:
        // One tie in five is the same answer twice.
        pair.other = random_.below(5) == 0 ? pair.good : facts(subject, other_count, second);
        break;
    }
    return pair;
  }

  std::string statement(int64_t a, std::string_view word, int64_t b, int64_t result) {
    switch (random_.below(4)) {
      case 0:
        return fmt::format("{} {} {} is {}.", a, word, b, result);
      case 1:
        return fmt::format("The answer is {}.", result);
      case 2:
        return fmt::format("That makes {}.", result);
      default:
        return fmt::format("It is {}.", result);
    }
  }

  Pair arithmetic(bool with_fault) {
    int64_t a = 1 + static_cast<int64_t>(random_.below(9)), b = 1 + static_cast<int64_t>(random_.below(9));
    bool plus = random_.below(2) == 0;
    if (!plus && a < b) std::swap(a, b);
    std::string_view word = plus ? "plus" : "minus";
    constexpr std::array<std::string_view, 8> kForms = {
        "What is {} {} {}?",   "How much is {} {} {}?",   "Please work out {} {} {}.", "Tell me {} {} {}.",
        "Calculate {} {} {}.", "Can you solve {} {} {}?", "I need to know {} {} {}.",  "Do you know {} {} {}?",
    };
    Pair pair;
    pair.prompt = fmt::format(fmt::runtime(pick(kForms)), a, word, b);
    int64_t right = plus ? a + b : a - b;
    int64_t wrong = right;
    while (wrong == right) wrong = static_cast<int64_t>(random_.below(19));
    pair.good = statement(a, word, b, right);
    pair.other = statement(a, word, b, with_fault ? wrong : right);
    return pair;
  }

  Random random_;
};

/** The kinds in fixed shares, shuffled: 33 % off topic, 29 % cut off, 8 % wrong arithmetic, 30 % ties. */
std::vector<Kind> plan_kinds(int64_t rows, Random& random) {
  std::vector<Kind> kinds;
  for (int64_t i = 0; i < rows; ++i) {
    int64_t part = i % 24;
    kinds.push_back(part < 8    ? Kind::kOffTopic
                    : part < 15 ? Kind::kCutOff
                    : part < 17 ? Kind::kArithmetic
                    : part < 23 ? Kind::kTie
                                : Kind::kArithmeticTie);
  }
  shuffle(kinds, random);
  return kinds;
}

}  // namespace

std::vector<PreferenceRow> sample_rows(int64_t rows, uint64_t seed) {
  // A bound with room to spare below the number of prompts: 48 x 24 about things, 8 x 126 sums.
  constexpr int64_t kMostRows = 1000;
  if (rows < 1 || rows > kMostRows) fail("sample: expected 1 to {} rows, found {}", kMostRows, rows);
  Maker maker(seed);
  std::vector<Kind> kinds = plan_kinds(rows, maker.random());
  std::unordered_set<std::string> prompts;
  std::array<int64_t, 5> faults{};
  std::vector<PreferenceRow> out;
  for (Kind kind : kinds) {
    Pair pair = maker.make(kind);
    while (!prompts.insert(pair.prompt).second) pair = maker.make(kind);
    PreferenceRow& row = out.emplace_back();
    row.source_row = static_cast<int64_t>(out.size());
    row.id = std::to_string(row.source_row);
    row.has_label = true;
    row.prompt = {pair.prompt};
    bool tie = kind == Kind::kTie || kind == Kind::kArithmeticTie;
    // Kind by kind, every second good answer is A.
    bool good_is_a = faults[static_cast<size_t>(kind)]++ % 2 == 0;
    row.response_a = {good_is_a ? pair.good : pair.other};
    row.response_b = {good_is_a ? pair.other : pair.good};
    row.label = {tie || !good_is_a ? 0.0f : 1.0f, tie || good_is_a ? 0.0f : 1.0f, tie ? 1.0f : 0.0f};
  }
  return out;
}

void make_sample(const std::filesystem::path& path_train, const std::optional<std::filesystem::path>& path_test,
                 int64_t rows, int64_t test_rows, uint64_t seed) {
  std::vector<PreferenceRow> all = sample_rows(rows + (path_test ? test_rows : 0), seed);
  std::vector<PreferenceRow> test(all.begin() + static_cast<std::ptrdiff_t>(rows), all.end());
  all.resize(static_cast<size_t>(rows));
  write_lmsys_csv(path_train, all);
  if (path_test) write_lmsys_csv(*path_test, test);
}

}  // namespace gavel
