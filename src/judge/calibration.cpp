#include "judge/calibration.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "judge/evaluate.h"
#include "judge/fit_calibration.h"

namespace gavel {

namespace fs = std::filesystem;
using CalibrationJson = nlohmann::ordered_json;

namespace {

constexpr const char* kCalibrationFile = "calibration.json";
constexpr int64_t kCalibrationVersion = 2;
constexpr std::array<std::string_view, 3> kCalibrationNames = {"temperature", "classes", "style"};

/** Reads members of one object of the file, and says what is wrong with them. */
class Members {
 public:
  Members(const nlohmann::json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) fail("{}: expected a JSON object; remove the file to judge without", place_);
  }
  double number(const std::string& key) const {
    auto found = object_.find(key);
    if (found == object_.end() || !found->is_number() || !std::isfinite(found->get<double>()))
      fail("{}: expected a finite number '{}', found {}; fit it anew (gavel eval --calibrate) or remove the file",
           place_, key, found == object_.end() ? std::string("nothing") : found->dump());
    return found->get<double>();
  }
  double number_or(const std::string& key, double other) const {
    auto found = object_.find(key);
    return found != object_.end() && found->is_number() ? found->get<double>() : other;
  }
  std::string text_or(const std::string& key, const std::string& other) const {
    auto found = object_.find(key);
    return found != object_.end() && found->is_string() ? found->get<std::string>() : other;
  }
  bool has(const std::string& key) const { return object_.contains(key); }
  const nlohmann::json& at(const std::string& key) const {
    auto found = object_.find(key);
    if (found == object_.end())
      fail("{}: '{}' is missing; fit it anew (gavel eval --calibrate) or remove the file", place_, key);
    return *found;
  }
  Members within(const std::string& key) const { return {at(key), place_ + ": " + key}; }
  const std::string& place() const { return place_; }

 private:
  const nlohmann::json& object_;
  std::string place_;
};

double temperature_of(const Members& members) {
  const double found = members.number("temperature");
  if (!(found >= kLowestTemperature / 2 && found <= kHighestTemperature * 2))
    fail("{}: temperature is {}, expected {} to {}; remove the file to judge without", members.place(), found,
         kLowestTemperature, kHighestTemperature);
  return found;
}

std::vector<CalibrationFigure> figures_of(const nlohmann::json& object, const char* key) {
  std::vector<CalibrationFigure> figures;
  if (!object.contains(key) || !object[key].is_array()) return figures;
  for (const auto& one : object[key]) {
    if (!one.is_object()) continue;
    const Members members(one, key);
    figures.push_back({members.text_or("name", "?"), members.number_or("in_sample", std::nan("")),
                       members.number_or("cross_validated", std::nan(""))});
  }
  return figures;
}

CalibrationJson figures_json(const std::vector<CalibrationFigure>& figures) {
  CalibrationJson list = CalibrationJson::array();
  for (const CalibrationFigure& figure : figures)
    list.push_back(
        {{"name", figure.name}, {"in_sample", figure.in_sample}, {"cross_validated", figure.cross_validated}});
  return list;
}

Calibration calibration_of(const nlohmann::json& object, const std::string& place) {
  const Members members(object, place);
  Calibration found;
  found.kind = calibration_kind(members.text_or("kind", "?"));
  if (found.kind != CalibrationKind::kStyle) found.temperature = temperature_of(members);
  if (found.kind == CalibrationKind::kClasses) {
    const Members bias = members.within("bias");
    found.bias = {bias.number("A"), bias.number("B"), bias.number("tie")};
  }
  if (found.kind == CalibrationKind::kStyle) {
    const Members lead = members.within("lead"), tie = members.within("tie");
    found.style.judge = lead.number("judge");
    found.style.judge_tie = tie.number("judge");
    found.style.margin = tie.number("judge's margin");
    found.style.constant = tie.number("constant");
    for (size_t i = 0; i < kLeadFeatures.size(); ++i) found.style.lead[i] = lead.number(kLeadFeatures[i]);
    for (size_t i = 0; i < kTieFeatures.size(); ++i) found.style.tie[i] = tie.number(kTieFeatures[i]);
  }
  found.data = members.text_or("data", "");
  found.rows = static_cast<int64_t>(std::clamp(members.number_or("rows", 0), 0.0, 1e15));
  found.swap_average = members.number_or("swap_average", 0);
  found.figures = figures_of(object, "log_loss");
  found.baselines = figures_of(object, "baselines");
  return found;
}

CalibrationJson to_json(const Calibration& calibration) {
  CalibrationJson json = {{"kind", calibration_name(calibration.kind)}};
  if (calibration.kind != CalibrationKind::kStyle) json["temperature"] = calibration.temperature;
  if (calibration.kind == CalibrationKind::kClasses)
    json["bias"] = {{"A", calibration.bias[0]}, {"B", calibration.bias[1]}, {"tie", calibration.bias[2]}};
  if (calibration.kind == CalibrationKind::kStyle) {
    const StyleWeights& style = calibration.style;
    json["lead"] = {{"judge", style.judge}};
    json["tie"] = {{"judge", style.judge_tie}, {"judge's margin", style.margin}, {"constant", style.constant}};
    for (size_t i = 0; i < kLeadFeatures.size(); ++i) json["lead"][kLeadFeatures[i]] = style.lead[i];
    for (size_t i = 0; i < kTieFeatures.size(); ++i) json["tie"][kTieFeatures[i]] = style.tie[i];
  }
  json["data"] = calibration.data;
  json["rows"] = calibration.rows;
  json["swap_average"] = calibration.swap_average;
  json["log_loss"] = figures_json(calibration.figures);
  json["baselines"] = figures_json(calibration.baselines);
  return json;
}

/** What version 1 held: one temperature. */
CalibrationFile first_version(const nlohmann::json& json, const std::string& place) {
  const Members members(json, place);
  Calibration found;
  found.temperature = temperature_of(members);
  found.data = members.text_or("data", "");
  found.rows = static_cast<int64_t>(std::clamp(members.number_or("rows", 0), 0.0, 1e15));
  found.swap_average = members.number_or("swap_average", 0);
  CalibrationFile file;
  (found.swap_average > 0 ? file.both_orders : file.one_order) = found;
  return file;
}

}  // namespace

std::string_view calibration_name(CalibrationKind kind) {
  return kCalibrationNames[static_cast<size_t>(kind)];
}

CalibrationKind calibration_kind(std::string_view name) {
  for (size_t i = 0; i < kCalibrationNames.size(); ++i)
    if (kCalibrationNames[i] == name) return static_cast<CalibrationKind>(i);
  fail("calibration: expected temperature, classes or style, found '{}'", name);
}

Outcome log_probabilities(const Outcome& logits, const std::optional<Outcome>& swapped_logits) {
  auto of_one = [](const Outcome& values) {
    const double largest = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (double value : values) sum += std::exp(value - largest);
    Outcome found;
    for (size_t i = 0; i < 3; ++i) found[i] = values[i] - largest - std::log(sum);
    return found;
  };
  Outcome found = of_one(logits);
  if (!swapped_logits) return found;
  const Outcome other = of_one(*swapped_logits);
  for (size_t i = 0; i < 3; ++i) {
    const double high = std::max(found[i], other[i]), low = std::min(found[i], other[i]);
    if (std::isfinite(high)) found[i] = high + std::log1p(std::exp(low - high)) - std::log(2);
  }
  return found;
}

Outcome Calibration::apply(const Outcome& logits, const std::optional<Outcome>& swapped_logits,
                           const SurfaceFeatures& surface) const {
  if (kind == CalibrationKind::kTemperature) {
    Outcome p = softmax(logits, temperature);
    if (swapped_logits) {
      const Outcome other = softmax(*swapped_logits, temperature);
      for (size_t i = 0; i < 3; ++i) p[i] = (p[i] + other[i]) / 2;
    }
    return p;
  }
  const Outcome log_p = log_probabilities(logits, swapped_logits);
  if (kind == CalibrationKind::kClasses) {
    Outcome z;
    for (size_t i = 0; i < 3; ++i) z[i] = log_p[i] / temperature + bias[i];
    return softmax(z);
  }
  const double margin = (log_p[0] - log_p[1]) / 2;
  double lead = style.judge * margin, tie = style.judge_tie * (log_p[2] - (log_p[0] + log_p[1]) / 2) +
                                            style.margin * std::abs(margin) + style.constant;
  for (size_t i = 0; i < style.lead.size(); ++i) lead += style.lead[i] * static_cast<double>(surface.lead[i]);
  for (size_t i = 0; i < style.tie.size(); ++i) tie += style.tie[i] * static_cast<double>(surface.tie[i]);
  return pair_probabilities(lead, tie, std::isfinite(log_p[2]));
}

std::string Calibration::describe() const {
  if (kind == CalibrationKind::kTemperature) return fmt::format("temperature {:.4f}", temperature);
  if (kind == CalibrationKind::kClasses)
    return fmt::format("classes: temperature {:.4f}, bias of A {:+.3f}, B {:+.3f}, tie {:+.3f}", temperature, bias[0],
                       bias[1], bias[2]);
  return "style";
}

const Calibration* CalibrationFile::for_swap(double swap_average) const {
  const auto &first = swap_average > 0 ? both_orders : one_order, &second = swap_average > 0 ? one_order : both_orders;
  return first ? &*first : second ? &*second : nullptr;
}

std::optional<CalibrationFile> read_calibration(const fs::path& folder) {
  const fs::path path = folder / kCalibrationFile;
  if (!fs::exists(path)) return std::nullopt;
  const auto json = nlohmann::json::parse(read_json_text(path), nullptr, false);
  const Members members(json, path.string());
  if (!members.has("version")) return first_version(json, path.string());
  if (members.number("version") != kCalibrationVersion)
    fail(
        "{}: its version is {}, and this Gavel reads {} and older: fit it anew (gavel eval --calibrate) or remove the "
        "file",
        path.string(), json["version"].dump(), kCalibrationVersion);
  CalibrationFile file;
  const Members key = members.within("fitted_for");
  CalibrationKey& fitted = file.fitted_for.emplace();
  fitted.adapter = key.text_or("adapter", "");
  fitted.base = key.text_or("base", "");
  const nlohmann::json& settings = key.at("settings");
  if (settings.is_object())
    for (const auto& [name, value] : settings.items())
      if (value.is_string()) fitted.settings[name] = value.get<std::string>();
  try {
    if (members.has("one_order")) file.one_order = calibration_of(json["one_order"], path.string() + ": one_order");
    if (members.has("both_orders"))
      file.both_orders = calibration_of(json["both_orders"], path.string() + ": both_orders");
  } catch (const Error& error) {
    // calibration_kind() does not know of a file.
    const std::string text = error.what();
    fail("{}{}", text.starts_with(path.string()) ? "" : path.string() + ": ", text);
  }
  return file;
}

void write_calibration(const fs::path& folder, const CalibrationFile& file) {
  CalibrationJson json = {{"version", kCalibrationVersion}};
  const CalibrationKey key = file.fitted_for.value_or(CalibrationKey{});
  json["fitted_for"] = {{"adapter", key.adapter}, {"base", key.base}, {"settings", key.settings}};
  if (file.one_order) json["one_order"] = to_json(*file.one_order);
  if (file.both_orders) json["both_orders"] = to_json(*file.both_orders);
  // A path that is no UTF-8 must not lose the figures.
  write_file(folder / kCalibrationFile, json.dump(2, ' ', false, CalibrationJson::error_handler_t::replace) + "\n");
}

void save_calibration(const fs::path& folder, const CalibrationKey& key, const Calibration& calibration) {
  CalibrationFile file;
  try {
    if (auto old = read_calibration(folder); old && old->fitted_for == key) file = *old;
  } catch (const Error&) {
    // A broken one is written over.
  }
  file.fitted_for = key;
  (calibration.swap_average > 0 ? file.both_orders : file.one_order) = calibration;
  write_calibration(folder, file);
}

std::string calibration_mismatch(const CalibrationKey& fitted, const CalibrationKey& now) {
  if (fitted.adapter != now.adapter) return "other weights of the adapter";
  if (fitted.base != now.base) return "another base model";
  std::string text;
  std::map<std::string, std::string> all = fitted.settings;
  all.insert(now.settings.begin(), now.settings.end());
  for (const auto& [name, value] : all) {
    auto in = [&](const CalibrationKey& key) {
      auto found = key.settings.find(name);
      return found == key.settings.end() ? std::string("nothing") : found->second;
    };
    if (in(fitted) != in(now))
      text += fmt::format("{}{}: {} (it is {} now)", text.empty() ? "" : ", ", name, in(fitted), in(now));
  }
  return text;
}

}  // namespace gavel
