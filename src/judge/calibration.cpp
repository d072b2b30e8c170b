#include "judge/calibration.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "base/file.h"
#include "judge/evaluate.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kName = "calibration.json";
constexpr double kLowest = 0.05, kHighest = 20;

}  // namespace

double log_loss_at(std::span<const CalibrationRow> rows, double temperature) {
  double loss = 0;
  for (const CalibrationRow& row : rows) {
    auto p = softmax(row.logits, temperature);
    if (row.swapped_logits) {
      auto other = softmax(*row.swapped_logits, temperature);
      for (size_t i = 0; i < 3; ++i) p[i] = (p[i] + other[i]) / 2;
    }
    for (size_t i = 0; i < 3; ++i)
      if (row.label[i] > 0) loss -= row.label[i] * std::log(std::max(p[i], 1e-300));
  }
  return loss / static_cast<double>(rows.size());
}

double fit_temperature(std::span<const CalibrationRow> rows) {
  if (rows.empty()) fail("calibration: no labelled rows to fit a temperature on");
  // A coarse scan finds the valley, a golden section its floor, both over the logarithm of the temperature.
  constexpr int kSteps = 60;
  const double low = std::log(kLowest), width = std::log(kHighest) - low;
  auto loss = [&](double logarithm) { return log_loss_at(rows, std::exp(logarithm)); };
  int best = 0;
  double least = INFINITY;
  for (int i = 0; i <= kSteps; ++i) {
    double found = loss(low + width * i / kSteps);
    if (found < least) {
      least = found;
      best = i;
    }
  }
  double begin = low + width * std::max(0, best - 1) / kSteps, end = low + width * std::min(kSteps, best + 1) / kSteps;
  constexpr double kGolden = 1 / std::numbers::phi;
  double a = end - kGolden * (end - begin), b = begin + kGolden * (end - begin), at_a = loss(a), at_b = loss(b);
  while (end - begin > 1e-7) {
    if (at_a < at_b) {
      end = b;
      b = a;
      at_b = at_a;
      a = end - kGolden * (end - begin);
      at_a = loss(a);
    } else {
      begin = a;
      a = b;
      at_a = at_b;
      b = begin + kGolden * (end - begin);
      at_b = loss(b);
    }
  }
  return std::exp((begin + end) / 2);
}

std::optional<Calibration> read_calibration(const fs::path& folder) {
  fs::path path = folder / kName;
  if (!fs::exists(path)) return std::nullopt;
  auto json = nlohmann::json::parse(read_text(path), nullptr, false);
  if (!json.is_object() || !json.contains("temperature") || !json["temperature"].is_number())
    fail("{}: expected a JSON object with the number 'temperature'; remove the file to judge without", path.string());
  Calibration found;
  found.temperature = json["temperature"].get<double>();
  if (!(found.temperature >= kLowest / 2 && found.temperature <= kHighest * 2))
    fail("{}: temperature is {}, expected {} to {}; remove the file to judge without", path.string(), found.temperature,
         kLowest, kHighest);
  auto number = [&](const char* key) {
    return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0;
  };
  if (json.contains("data") && json["data"].is_string()) found.data = json["data"].get<std::string>();
  found.rows = static_cast<int64_t>(number("rows"));
  found.swap_average = number("swap_average");
  found.log_loss_before = number("log_loss_before");
  found.log_loss_after = number("log_loss_after");
  return found;
}

void write_calibration(const fs::path& folder, const Calibration& calibration) {
  nlohmann::ordered_json json;
  json["temperature"] = calibration.temperature;
  json["data"] = calibration.data;
  json["rows"] = calibration.rows;
  json["swap_average"] = calibration.swap_average;
  json["log_loss_before"] = calibration.log_loss_before;
  json["log_loss_after"] = calibration.log_loss_after;
  // A path that is no UTF-8 must not lose the figures.
  write_file(folder / kName, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace gavel
