#include "report/validation_file.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_number.h"
#include "base/json_text.h"

namespace gavel {

namespace {

std::array<double, 3> three_numbers(const nlohmann::json& line, const char* key) {
  std::array<double, 3> values{};
  const auto& list = line.at(key);
  if (!list.is_array() || list.size() != 3)
    throw nlohmann::json::type_error::create(302, "three numbers expected", &line);
  for (size_t i = 0; i < 3; ++i) values[i] = list[i].is_null() ? 0 : list[i].get<double>();
  return values;
}

int64_t whole_number_at(const nlohmann::json& line, const char* key, int64_t otherwise) {
  const auto at = line.find(key);
  if (at == line.end()) return otherwise;
  if (const std::optional<int64_t> number = whole_number(*at)) return *number;
  throw nlohmann::json::type_error::create(302, std::string(key) + " is no whole number", &line);
}

}  // namespace

void write_validation(const std::filesystem::path& path, int64_t step, std::span<const JudgedRow> rows) {
  AtomicFile file(path);
  std::string text;
  for (const JudgedRow& row : rows) {
    nlohmann::ordered_json line = {{"step", step}, {"row", row.row}};
    if (!row.id.empty()) line["id"] = row.id;
    line["label"] = row.label;
    line["probabilities"] = row.probabilities;
    line["loss"] = row.loss();
    line["tokens"] = row.tokens;
    if (row.turns > 0) line["turns"] = row.turns;
    if (row.rewards) line["rewards"] = *row.rewards;
    text += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (text.size() > size_t{1} << 20) {
      file.write(text);
      text.clear();
    }
  }
  file.write(text);
  file.commit();
}

ValidationRows read_validation(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  std::string_view rest = file->text();
  ValidationRows found;
  for (int64_t number = 1; !rest.empty(); ++number) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      auto line = nlohmann::json::parse(within_json_depth(text, path.string()));
      JudgedRow row;
      found.step = whole_number_at(line, "step", 0);
      row.row = whole_number_at(line, "row", number);
      const auto id = line.find("id");
      if (id != line.end() && id->is_string()) row.id = id->get<std::string>();
      row.tokens = whole_number_at(line, "tokens", 0);
      row.turns = whole_number_at(line, "turns", 0);
      row.label = three_numbers(line, "label");
      row.probabilities = three_numbers(line, "probabilities");
      if (line.contains("rewards")) row.rewards = line["rewards"].get<std::array<double, 2>>();
      found.rows.push_back(std::move(row));
    } catch (const nlohmann::json::exception& error) {
      fail("{}: line {} is not what docs/files.md says of it: {}", path.string(), number, error.what());
    }
  }
  return found;
}

}  // namespace gavel
