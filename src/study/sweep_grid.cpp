#include "study/sweep_grid.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "rows/cleaning.h"

namespace gavel {

namespace {

constexpr const char* kSeed = "train.seed";
// Longer names of folders are cut, and end in a hash.
constexpr size_t kLongestName = 80;
constexpr size_t kMostRuns = 10'000;

/** What must be the same for runs to be compared row by row, or is the sweep's own. */
constexpr const char* kFixed[] = {"output",      "train.resume", "data.valid",  "data.folds",  "data.fold",
                                  "data.format", "data.cells",   "data.strict", "data.columns"};

/** The place behind the value that begins at `at`; a quote or a bracket there holds until it is closed. */
size_t end_of_value(const std::string& text, size_t at) {
  std::string open;  // what closes the brackets that are open
  char quote = 0;
  const bool closes_itself = at < text.size() && std::string("[{\"'").find(text[at]) != std::string::npos;
  if (!closes_itself) return std::min(text.find(',', at), text.size());
  for (size_t i = at; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{') {
      open += c == '[' ? ']' : '}';
    } else if (!open.empty() && c == open.back()) {
      open.pop_back();
    }
    if (quote == 0 && open.empty()) return i + 1;
  }
  return std::string::npos;
}

/** The last part of a key, or the whole where another setting ends in the same: it names folders, also of later calls. */
std::string short_key(const std::string& key) {
  auto leaf = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  const std::vector<RecipeKey> all = recipe_keys();
  const auto same =
      std::count_if(all.begin(), all.end(), [&](const RecipeKey& other) { return leaf(other.key) == leaf(key); });
  return same > 1 ? key : leaf(key);
}

/** A name for a folder: what is no plain letter is left out, and then a hash tells it from others. */
std::string folder_name(const std::string& text) {
  std::string safe;
  for (char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string("=,._-+").find(c) != std::string::npos;
    if (plain && !(safe.empty() && c == '.')) safe += c;
  }
  if (safe == text && safe.size() <= kLongestName) return safe;
  return fmt::format("{}-{:08x}", safe.substr(0, kLongestName), static_cast<uint32_t>(hash_text(text, 0)));
}

class GridMaker {
 public:
  GridMaker(const std::string& file, const std::vector<std::string>& texts) : file_(file) {
    for (const std::string& text : texts) {
      try {
        SweptKey key = parse_swept_key(text);
        for (const SweptKey& other : grid_.keys)
          if (other.key == key.key) fail("{}: is given twice; write its values as one list, a,b,c", key.key);
        check(key);
        grid_.keys.push_back(std::move(key));
      } catch (const Error& error) {
        problem(error.what());
      }
    }
    stop_at_problems();
    for (const SweptKey& key : grid_.keys)
      if (key.values.size() == 1) fixed_.push_back(key.key + "=" + key.values[0]);
    std::erase_if(grid_.keys, [](const SweptKey& key) { return key.values.size() == 1; });
    if (grid_.keys.empty()) fail("gavel sweep: no key has several values; give at least one as section.key=a,b,c");
    size_t runs = 1;
    for (const SweptKey& key : grid_.keys) runs = std::min(runs * key.values.size(), kMostRuns + 1);
    if (runs > kMostRuns) fail("gavel sweep: these values make more than {} runs; give fewer", kMostRuns);
  }

  SweepGrid make() {
    std::vector<SweptKey> settings = grid_.keys;
    std::erase_if(settings, [](const SweptKey& key) { return key.key == kSeed; });
    add_settings(settings, {});
    stop_at_problems();
    grid_.base = load_recipe(file_, fixed_);
    return std::move(grid_);
  }

 private:
  void problem(const std::string& text) {
    // The same line of the recipe is wrong in every setting.
    std::string rest = text;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      if (std::string line = rest.substr(0, end); known_.insert(line).second) problems_.push_back(line);
      rest.erase(0, std::min(end + 1, rest.size()));
    }
  }
  void stop_at_problems() const {
    if (!problems_.empty()) throw Error(fmt::format("{}", fmt::join(problems_, "\n")));
  }

  static void check(const SweptKey& key) {
    if (key.values.size() == 1) return;
    for (const std::string fixed : kFixed)
      if (key.key == fixed || key.key.starts_with(fixed + "."))
        fail("{}: can't be swept, since all runs are compared on the same validation rows, each in a folder of its own",
             key.key);
  }

  void add_settings(const std::vector<SweptKey>& keys, const std::vector<std::pair<std::string, std::string>>& chosen) {
    if (chosen.size() < keys.size()) {
      const SweptKey& key = keys[chosen.size()];
      for (const std::string& value : key.values) {
        auto more = chosen;
        more.emplace_back(key.key, value);
        add_settings(keys, more);
      }
      return;
    }
    SweepSetting setting{chosen, {}, "recipe"};
    std::vector<std::string> overrides = fixed_, name;
    for (const auto& [key, value] : chosen) {
      overrides.push_back(key + "=" + value);
      name.push_back(short_key(key) + "=" + value);
    }
    if (!name.empty()) setting.name = fmt::format("{}", fmt::join(name, ", "));
    auto seeds =
        std::find_if(grid_.keys.begin(), grid_.keys.end(), [](const SweptKey& key) { return key.key == kSeed; });
    const std::vector<std::string> values = seeds == grid_.keys.end() ? std::vector<std::string>{""} : seeds->values;
    for (const std::string& seed : values) {
      auto all = overrides;
      auto full_name = name;
      if (!seed.empty()) {
        all.push_back(std::string(kSeed) + "=" + seed);
        full_name.push_back(short_key(kSeed) + "=" + seed);
      }
      try {
        Recipe recipe = load_recipe(file_, all);
        for (const SweepSetting& other : grid_.settings) require_other(recipe, other, full_name);
        require_other(recipe, setting, full_name);
        setting.runs.push_back({folder_name(fmt::format("{}", fmt::join(full_name, ","))), seed, std::move(recipe)});
      } catch (const Error& error) {
        problem(error.what());
      }
    }
    grid_.settings.push_back(std::move(setting));
  }

  static void require_other(const Recipe& recipe, const SweepSetting& setting, const std::vector<std::string>& name) {
    for (const SweepSetting::Run& run : setting.runs)
      if (run.recipe == recipe)
        fail("gavel sweep: {} is the same as {}: two of the values mean the same", fmt::join(name, ", "), run.folder);
  }

  std::string file_;
  SweepGrid grid_;
  std::vector<std::string> fixed_;
  std::vector<std::string> problems_;
  std::set<std::string> known_;
};

}  // namespace

SweptKey parse_swept_key(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    fail("command line: expected section.key=a,b,c, found '{}'", text.substr(0, 100));
  SweptKey found{text.substr(0, equals), {}};
  for (size_t at = equals + 1; at <= text.size();) {
    const size_t end = end_of_value(text, at);
    if (end == std::string::npos)
      fail("command line: {}: '{}' opens a bracket or a quote that is not closed", found.key, text.substr(at, 100));
    if (end < text.size() && text[end] != ',')
      fail(
          "command line: {}: expected a comma after {}, found '{}'; a value with commas in it stands in quotes or "
          "brackets as "
          "a whole",
          found.key, text.substr(at, end - at), text.substr(end, 100));
    std::string value = text.substr(at, end - at);
    // One empty value is the recipe's to judge; among several it is a slip.
    const bool several = end < text.size() || !found.values.empty();
    if (value.empty() && several) fail("command line: {}: a value is missing between commas in '{}'", found.key, text);
    if (std::find(found.values.begin(), found.values.end(), value) != found.values.end())
      fail("command line: {}: the value {} is given twice", found.key, value);
    found.values.push_back(std::move(value));
    if (end == text.size()) break;
    at = end + 1;
  }
  return found;
}

SweepGrid make_grid(const std::string& recipe_file, const std::vector<std::string>& texts) {
  return GridMaker(recipe_file, texts).make();
}

}  // namespace gavel
