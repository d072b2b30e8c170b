#include "baseline/surface_features.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "rows/cleaning.h"

namespace gavel {

namespace {

bool is_word_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
         static_cast<unsigned char>(c) >= 0x80;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/** Calls use(word) with each word in small letters. */
template <class Use>
void for_each_word(std::string_view text, Use use) {
  constexpr size_t kLongest = 40;
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && is_word_byte(text[i])) {
      if (word.size() < kLongest) word += lower(text[i]);
    } else if (!word.empty()) {
      use(word);
      word.clear();
    }
  }
}

/** Hashes of a conversation's words, sorted, each once. */
std::vector<uint64_t> words_of(const std::vector<std::string>& turns) {
  std::vector<uint64_t> words;
  for (const std::string& turn : turns)
    for_each_word(turn, [&](std::string_view word) { words.push_back(hash_text(word, 7)); });
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

size_t count_shared(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t shared = 0;
  for (size_t i = 0, k = 0; i < a.size() && k < b.size();) {
    if (a[i] == b[k]) {
      ++shared;
      ++i;
      ++k;
    } else if (a[i] < b[k]) {
      ++i;
    } else {
      ++k;
    }
  }
  return shared;
}

bool refuses(std::string_view text) {
  // Refusals begin with one: in later text these words are as often about something else.
  constexpr size_t kBeginning = 300;
  std::string begin(text.substr(0, kBeginning));
  std::transform(begin.begin(), begin.end(), begin.begin(), lower);
  for (std::string_view sign :
       {"i'm sorry", "i am sorry", "i apologize", "i cannot", "i can't", "i can not", "unable to", "as an ai",
        "language model", "not able to", "i'm not able", "i won't", "don't have"})
    if (begin.find(sign) != std::string::npos) return true;
  return false;
}

/** What is counted in one side's answers. */
struct Side {
  double bytes = 0, last_bytes = 0, words = 0, lines = 0, lists = 0, fences = 0, headings = 0, bold = 0, digits = 0,
         questions = 0;
  bool refusal = false, empty = true, cut = false;

  void count_line(std::string_view line) {
    ++lines;
    const size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos) return;
    line.remove_prefix(first);
    if (line.starts_with("```")) {
      ++fences;
      return;
    }
    if (line.starts_with("#")) ++headings;
    const size_t digit = line.find_first_not_of("0123456789");
    const bool numbered =
        digit != std::string_view::npos && digit > 0 && digit <= 3 && (line[digit] == '.' || line[digit] == ')');
    if (numbered || line.starts_with("- ") || line.starts_with("* ") || line.starts_with("+ ") ||
        line.starts_with("\xe2\x80\xa2"))
      ++lists;
  }

  explicit Side(const std::vector<std::string>& turns) {
    for (const std::string& turn : turns) {
      bytes += static_cast<double>(turn.size());
      for_each_word(turn, [&](std::string_view) { ++words; });
      std::string_view rest = turn;
      for (size_t end = 0; end != std::string_view::npos;) {
        end = rest.find('\n');
        count_line(rest.substr(0, end));
        if (end != std::string_view::npos) rest.remove_prefix(end + 1);
      }
      for (size_t at = turn.find("**"); at != std::string::npos; at = turn.find("**", at + 2)) bold += 0.5;
      for (char c : turn) {
        digits += c >= '0' && c <= '9';
        questions += c == '?';
      }
      refusal = refusal || refuses(turn);
      empty = empty && turn.find_first_not_of(" \t\r\n") == std::string::npos;
    }
    if (turns.empty()) return;
    const std::string& last = turns.back();
    last_bytes = static_cast<double>(last.size());
    const size_t end = last.find_last_not_of(" \t\r\n");
    cut = end != std::string::npos && is_word_byte(last[end]);
  }
};

float log_of(double count) {
  return static_cast<float>(std::log1p(count));
}

float share_of(size_t part, size_t whole) {
  return whole == 0 ? 0 : static_cast<float>(part) / static_cast<float>(whole);
}

double bytes_in(const std::vector<std::string>& turns) {
  double bytes = 0;
  for (const std::string& turn : turns) bytes += static_cast<double>(turn.size());
  return bytes;
}

}  // namespace

SurfaceFeatures surface_features(const PreferenceRow& row) {
  const Side a(row.response_a), b(row.response_b);
  const std::vector<uint64_t> words_a = words_of(row.response_a), words_b = words_of(row.response_b),
                              asked = words_of(row.prompt);
  const size_t shared = count_shared(words_a, words_b), all = words_a.size() + words_b.size() - shared;
  auto distance = [](double of_a, double of_b) { return log_of(of_a) - log_of(of_b); };
  auto flag = [](bool of_a, bool of_b) { return static_cast<float>(of_a) - static_cast<float>(of_b); };
  const float length = distance(a.bytes, b.bytes);
  SurfaceFeatures found;
  found.lead = {
      length,
      distance(a.last_bytes, b.last_bytes),
      distance(a.words, b.words),
      distance(a.lines, b.lines),
      distance(a.lists, b.lists),
      distance(a.fences, b.fences),
      distance(a.headings, b.headings),
      distance(a.bold, b.bold),
      distance(a.digits, b.digits),
      flag(a.refusal, b.refusal),
      flag(a.empty, b.empty),
      distance(a.questions, b.questions),
      flag(a.cut, b.cut),
      share_of(words_a.size(), static_cast<size_t>(a.words)) - share_of(words_b.size(), static_cast<size_t>(b.words)),
      share_of(count_shared(asked, words_a), asked.size()) - share_of(count_shared(asked, words_b), asked.size())};
  const float mean = (log_of(a.bytes) + log_of(b.bytes)) / 2;
  found.tie = {log_of(bytes_in(row.prompt)),
               log_of(static_cast<double>(row.prompt.size())),
               mean,
               std::abs(length),
               static_cast<float>(row.response_a == row.response_b),
               static_cast<float>(a.refusal && b.refusal),
               static_cast<float>(a.refusal != b.refusal),
               share_of(shared, all),
               static_cast<float>(a.fences + b.fences > 0),
               log_of(row.prompt.empty() ? 0 : static_cast<double>(row.prompt.back().size())),
               std::abs(distance(a.lists, b.lists)),
               std::max(0.0F, 5 - mean)};
  return found;
}

std::vector<Term> word_terms(const PreferenceRow& row) {
  const std::vector<uint64_t> a = words_of(row.response_a), b = words_of(row.response_b);
  std::vector<Term> terms;
  // Words in both say nothing of which is better.
  auto add = [&](const std::vector<uint64_t>& own, const std::vector<uint64_t>& other, float value) {
    for (uint64_t word : own)
      if (!std::binary_search(other.begin(), other.end(), word))
        terms.push_back({static_cast<uint32_t>(word % kWordBuckets), value});
  };
  add(a, b, 1);
  add(b, a, -1);
  return terms;
}

}  // namespace gavel
