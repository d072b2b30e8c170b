#include "report/recorded_run.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"

namespace gavel {

namespace fs = std::filesystem;

RecordedRun read_run(const fs::path& folder) {
  RecordedRun run;
  run.folder = folder;
  fs::path whole = fs::absolute(folder).lexically_normal();
  run.name = whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
  run.info = nlohmann::ordered_json::object();
  if (fs::exists(folder / "study.json"))
    fail("{}: holds several runs, whose page the command that trained them writes; give its folders one by one",
         folder.string());
  if (!fs::exists(folder / "metrics.jsonl") && !fs::exists(folder / "recipe.yaml"))
    fail("{}: expected the output folder of a run, found neither metrics.jsonl nor recipe.yaml", folder.string());
  // A damaged file costs its part, not the rest.
  auto part = [&](const char* name, auto read) {
    if (!fs::exists(folder / name)) return;
    try {
      read(folder / name);
    } catch (const Error& error) {
      run.notes.push_back(error.what());
    }
  };
  part("metrics.jsonl", [&](const fs::path& path) {
    for (MetricRow& row : read_metrics(path)) {
      std::string kind = "train";
      for (const auto& [name, value] : row)
        if (name == "kind")
          if (const auto* text = std::get_if<std::string>(&value)) kind = *text;
      if (kind == "train")
        run.train.push_back(std::move(row));
      else if (kind == "eval")
        run.evals.push_back(std::move(row));
    }
  });
  part("validation.jsonl", [&](const fs::path& path) { run.validation = read_validation(path); });
  part("reward.json", [&](const fs::path& path) {
    auto json = nlohmann::json::parse(read_json_text(path), nullptr, false);
    if (!json.is_object() || !json.contains("tie_logit") || !json["tie_logit"].is_number())
      fail("{}: expected a JSON object with the number 'tie_logit'", path.string());
    run.tie_logit = json["tie_logit"].get<double>();
  });
  part("recipe.yaml", [&](const fs::path& path) { run.recipe = read_text(path); });
  part("run.json", [&](const fs::path& path) {
    auto json = nlohmann::ordered_json::parse(read_json_text(path), nullptr, false);
    if (!json.is_object()) fail("{}: expected a JSON object", path.string());
    run.info = std::move(json);
  });
  part("calibration.json", [&](const fs::path& path) {
    auto json = nlohmann::ordered_json::parse(read_json_text(path), nullptr, false);
    if (!json.is_object()) fail("{}: expected a JSON object", path.string());
    run.calibration = std::move(json);
  });
  return run;
}

std::vector<std::pair<std::string, std::string>> recipe_settings(const std::string& yaml) {
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<std::string> sections;  // by depth
  size_t at = 0;
  while (at < yaml.size()) {
    size_t end = std::min(yaml.find('\n', at), yaml.size());
    std::string line = yaml.substr(at, end - at);
    at = end + 1;
    size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos || line[indent] == '#') continue;
    size_t colon = line.find(':', indent);
    if (colon == std::string::npos) continue;
    sections.resize(std::min(sections.size(), indent / 2));
    std::string key;
    for (const std::string& section : sections) key += section + ".";
    key += line.substr(indent, colon - indent);
    size_t value = line.find_first_not_of(' ', colon + 1);
    if (value == std::string::npos)
      sections.push_back(line.substr(indent, colon - indent));
    else
      settings.emplace_back(key, line.substr(value));
  }
  return settings;
}

}  // namespace gavel
