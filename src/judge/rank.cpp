#include "judge/rank.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "judge/pair_json.h"
#include "rows/choices.h"

namespace gavel {

namespace {

/** A text, or a list of texts. */
std::vector<std::string> texts_of(const nlohmann::json& object, const char* key, int64_t number) {
  auto found = object.find(key);
  if (found == object.end()) fail("line {}: key '{}' is missing: expected prompt and responses", number, key);
  if (found->is_string()) return {found->get<std::string>()};
  std::vector<std::string> texts;
  if (found->is_array())
    for (const auto& item : *found) {
      if (!item.is_string()) fail("line {}: key '{}' holds {}, expected texts", number, key, item.type_name());
      texts.push_back(item.get<std::string>());
    }
  if (texts.empty()) fail("line {}: key '{}' has no text", number, key);
  return texts;
}

}  // namespace

nlohmann::json parse_line(std::string_view line, int64_t number) {
  try {
    return parse_shallow(line);
  } catch (const Error& error) {
    fail("line {}: {}", number, error.what());
  }
}

void each_line(const std::filesystem::path& path, const std::function<void(std::string_view, int64_t)>& take) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  std::string_view text = file->text();
  bool any = false;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    any = true;
    if (line.size() > static_cast<size_t>(kMostCellBytes))
      fail("{}: line {}: expected at most {} bytes, found {}: cut its texts or leave it out", path.string(), number,
           kMostCellBytes, line.size());
    try {
      take(line, number);
    } catch (const Error& error) {
      fail("{}: {}", path.string(), error.what());
    }
  }
  if (!any) fail("{}: the file is empty", path.string());
}

Candidates candidates_of(std::string_view line, int64_t number) {
  return candidates_of(parse_line(line, number), number);
}

Candidates candidates_of(const nlohmann::json& object, int64_t number) {
  if (!object.is_object()) fail("line {}: expected an object {{\"prompt\": …, \"responses\": […]}}", number);
  Candidates out;
  out.id = std::to_string(number);
  if (auto id = object.find("id"); id != object.end() && !id->is_null())
    out.id = id->is_string() ? id->get<std::string>() : id->dump();
  out.prompt = texts_of(object, "prompt", number);
  out.responses = texts_of(object, "responses", number);
  return out;
}

std::vector<PreferenceRow> candidate_rows(std::span<const Candidates> all) {
  std::vector<PreferenceRow> rows;
  for (const Candidates& candidates : all)
    for (size_t i = 0; i < candidates.responses.size(); i += 2) {
      PreferenceRow& row = rows.emplace_back();
      row.prompt = candidates.prompt;
      // The conversation's earlier answers are not known here.
      auto answers = [&](size_t which) {
        std::vector<std::string> turns(candidates.prompt.size());
        turns.back() = candidates.responses[std::min(which, candidates.responses.size() - 1)];
        return turns;
      };
      row.response_a = answers(i);
      row.response_b = answers(i + 1);
    }
  return rows;
}

std::vector<std::vector<double>> candidate_rewards(std::span<const Candidates> all, std::span<const Verdict> verdicts) {
  std::vector<std::vector<double>> rewards;
  size_t next = 0;
  for (const Candidates& candidates : all) {
    std::vector<double>& of = rewards.emplace_back();
    for (size_t i = 0; i < candidates.responses.size(); ++i) {
      of.push_back(verdicts[next].rewards.value()[i % 2]);
      if (i % 2 == 1 || i + 1 == candidates.responses.size()) ++next;
    }
  }
  return rewards;
}

std::vector<size_t> best_first(std::span<const double> rewards) {
  std::vector<size_t> order(rewards.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rewards[a] > rewards[b]; });
  return order;
}

std::vector<std::vector<double>> rewards_of(Judge& judge, std::span<const Candidates> all) {
  if (judge.recipe().task != Recipe::TaskKind::kReward)
    fail("answers are put in order by their rewards: this adapter is a judge of pairs, not one of task: reward");
  return candidate_rewards(all, judge.judge(candidate_rows(all)));
}

nlohmann::ordered_json ranking_json(const Candidates& candidates, const std::vector<double>& rewards) {
  const std::vector<size_t> order = best_first(rewards);
  return {{"id", candidates.id}, {"rewards", rewards}, {"order", order}, {"best", candidates.responses[order.front()]}};
}

}  // namespace gavel
