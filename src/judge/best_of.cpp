#include "judge/best_of.h"

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace gavel {

namespace {

constexpr size_t kBestOfRowsAtOnce = 256;

BestOfRow best_of_row(std::string_view line, int64_t number, const std::string& subset) {
  nlohmann::json object = parse_line(line, number);
  if (!object.is_object() || !object.contains("chosen") || !object.contains("rejected"))
    fail("line {}: expected an object {{\"prompt\": …, \"chosen\": […], \"rejected\": […]}}", number);
  auto list_of = [&](const char* key) {
    const nlohmann::json& value = object[key];
    return value.is_array() ? value : nlohmann::json::array({value});
  };
  nlohmann::json responses = list_of("chosen"), rejected = list_of("rejected");
  BestOfRow row;
  row.right = responses.size();
  if (responses.empty() || rejected.empty())
    fail("line {}: {} chosen and {} rejected answers, expected one or more of either", number, responses.size(),
         rejected.size());
  responses.insert(responses.end(), rejected.begin(), rejected.end());
  object["responses"] = std::move(responses);
  row.candidates = candidates_of(object, number);
  if (auto name = object.find(subset); name != object.end() && !name->is_null())
    row.subset = name->is_string() ? name->get<std::string>() : name->dump();
  return row;
}

}  // namespace

std::vector<BestOfRow> read_best_of(const std::filesystem::path& path, const std::string& subset) {
  if (MappedFile::open(path)->text().starts_with("PAR1"))
    fail("{}: best of n is read from JSONL, found Parquet: convert it first", path.string());
  std::vector<BestOfRow> rows;
  each_line(path, [&](std::string_view line, int64_t number) { rows.push_back(best_of_row(line, number, subset)); });
  return rows;
}

std::vector<RewardedAnswers> reward_best_of(Judge& judge, const std::vector<BestOfRow>& rows, const RowsDone& done) {
  std::vector<RewardedAnswers> rewarded;
  for (size_t begin = 0; begin < rows.size(); begin += kBestOfRowsAtOnce) {
    std::vector<Candidates> part;
    for (size_t i = begin; i < std::min(rows.size(), begin + kBestOfRowsAtOnce); ++i)
      part.push_back(rows[i].candidates);
    for (std::vector<double>& rewards : rewards_of(judge, part)) {
      const BestOfRow& row = rows[rewarded.size()];
      rewarded.push_back({row.candidates.id, row.subset, std::move(rewards), row.right});
    }
    if (done) done(static_cast<int64_t>(rewarded.size()));
  }
  return rewarded;
}

}  // namespace gavel
