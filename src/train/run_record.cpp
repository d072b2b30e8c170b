#include "train/run_record.h"

#include <fmt/chrono.h>

#include <chrono>

#include "base/file.h"
#include "base/json_text.h"

namespace gavel {

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

RunRecord::RunRecord(std::filesystem::path path, nlohmann::ordered_json about)
    : path_(std::move(path)), about_(std::move(about)), started_(utc_now()) {
  if (!std::filesystem::exists(path_)) return;
  auto before = nlohmann::ordered_json::parse(read_json_text(path_), nullptr, false);
  if (!before.is_object()) return;
  if (before.contains("started") && before["started"].is_string()) started_ = before["started"];
  if (before.contains("resumes") && before["resumes"].is_array()) resumes_ = before["resumes"];
}

void RunRecord::add_resume(int64_t step) {
  resumes_.push_back({{"step", step}, {"time", utc_now()}});
}

void RunRecord::write(const std::string& status, const RunState& state, const std::string& message) {
  nlohmann::ordered_json json = {{"format", 1}, {"status", status}};
  if (!message.empty()) json["message"] = message;
  json["started"] = started_;
  json["updated"] = utc_now();
  json["step"] = state.step;
  json.update(about_);
  if (state.best) json["best"] = {{"step", state.best->step}, {"log_loss", state.best->log_loss}};
  json["skipped_steps"] = state.skipped_steps;
  json["resumes"] = resumes_;
  write_file(path_, json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace gavel
