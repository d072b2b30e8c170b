#include "judge/fit_calibration.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "baseline/cross_validation.h"
#include "judge/evaluate.h"

namespace gavel {

namespace {

constexpr size_t kFewRows = 50;
/** What draws the weights that a plain calibration would have too, beside that of a feature of the surface. */
constexpr double kJudgeStrength = 0.1;

double loss_of_label(const Outcome& label, const Outcome& p) {
  double loss = 0;
  for (size_t i = 0; i < 3; ++i)
    if (label[i] > 0) loss -= label[i] * std::log(std::max(p[i], 1e-300));
  return loss;
}

void check_finite(std::span<const CalibrationRow> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    auto check = [&](const Outcome& logits) {
      for (size_t k = 0; k < 3; ++k)
        // A judge of two outcomes has no tie.
        if (!std::isfinite(logits[k]) && !(k == 2 && logits[k] == -INFINITY))
          fail(
              "calibration: the judge's logit of {} for labelled row {} is {}: nothing can be fitted to that; look for "
              "what is wrong with the judge first",
              k == 0   ? "A"
              : k == 1 ? "B"
                       : "a tie",
              i + 1, logits[k]);
    };
    check(rows[i].logits);
    if (rows[i].swapped_logits) check(*rows[i].swapped_logits);
    const Outcome& label = rows[i].label;
    const double total = label[0] + label[1] + label[2];
    if (!std::isfinite(total) || total <= 0 || *std::min_element(label.begin(), label.end()) < 0)
      fail("calibration: the label of labelled row {} is {} / {} / {}, expected probabilities", i + 1, label[0],
           label[1], label[2]);
  }
}

/** The log probabilities as a lead of A over B and a lead of a tie over both. */
struct Margins {
  double lead = 0, tie = 0;
  bool has_tie = true;
};

Margins margins_of(const CalibrationRow& row) {
  const Outcome log_p = log_probabilities(row.logits, row.swapped_logits);
  return {(log_p[0] - log_p[1]) / 2, log_p[2] - (log_p[0] + log_p[1]) / 2, std::isfinite(log_p[2])};
}

/** One kind of calibration as a regression, and back. */
struct CalibrationFit {
  PairRows rows;
  PenaltySearch search;
  /** Mean and size of each feature, by which they were divided. */
  std::vector<double> lead_scale, tie_mean, tie_scale;
  double margin_mean = 0, margin_scale = 0;
};

bool have_ties(std::span<const CalibrationRow> rows) {
  return std::all_of(rows.begin(), rows.end(), [](const CalibrationRow& row) { return margins_of(row).has_tie; });
}

/** Weights: 1 / temperature, what A gains over B by itself (half of it on either side), what a tie gains. */
CalibrationFit classes_fit(std::span<const CalibrationRow> rows, std::optional<double> fixed_slope = std::nullopt) {
  // A slope that is to stay where it is is drawn there by more than all rows together.
  const double slope_strength = fixed_slope ? 1e9 : kJudgeStrength;
  CalibrationFit fit{
      PairRows({fixed_slope.value_or(1), 0, 0}, {slope_strength, kJudgeStrength, kJudgeStrength}, have_ties(rows))};
  fit.search.penalties = {1000, 100, 10, 1};
  for (const CalibrationRow& row : rows) {
    const Margins margins = margins_of(row);
    const std::array<Term, 2> lead = {Term{0, static_cast<float>(margins.lead)}, Term{1, 1}},
                              tie = {Term{0, static_cast<float>(margins.has_tie ? margins.tie : 0)}, Term{2, 1}};
    fit.rows.add(lead, tie, row.label);
  }
  return fit;
}

Calibration classes_from(std::span<const double> weights) {
  Calibration found;
  found.kind = CalibrationKind::kClasses;
  found.temperature = 1 / weights[0];
  found.bias = {weights[1], -weights[1], weights[2]};
  return found;
}

/** judge, judge_tie, margin, constant, and how much counts what other rows say of style: of the lead and of the tie. */
constexpr uint32_t kStyleOwn = 6;

/** What a style model says by itself: the lead of A and the logit of a tie. */
Margins said_of_style(const StyleWeights& style, const SurfaceFeatures& surface) {
  Margins said{0, style.constant};
  for (size_t f = 0; f < style.lead.size(); ++f) said.lead += style.lead[f] * surface.lead[f];
  for (size_t f = 0; f < style.tie.size(); ++f) said.tie += style.tie[f] * surface.tie[f];
  return said;
}

CalibrationFit style_fit(std::span<const CalibrationRow> rows, std::span<const BaselineRow> surface,
                         const StyleWeights& of_others = {}) {
  const auto count = static_cast<double>(rows.size());
  CalibrationFit fit{PairRows({}, {}, true)};
  auto scale_of = [](double square) { return square > 1e-12 ? 1 / std::sqrt(square) : 0; };
  for (size_t f = 0; f < kLeadFeatures.size(); ++f) {
    double square = 0;
    for (const BaselineRow& row : surface) square += std::pow(row.surface.lead[f], 2) / count;
    fit.lead_scale.push_back(scale_of(square));
  }
  for (size_t f = 0; f < kTieFeatures.size(); ++f) {
    double mean = 0, square = 0;
    for (const BaselineRow& row : surface) mean += row.surface.tie[f] / count;
    for (const BaselineRow& row : surface) square += std::pow(row.surface.tie[f] - mean, 2) / count;
    fit.tie_mean.push_back(mean);
    fit.tie_scale.push_back(scale_of(square));
  }
  std::vector<Margins> margins;
  std::vector<Margins> styles;
  double square_lead = 0, square_tie = 0, square_margin = 0, square_style_lead = 0, square_style_tie = 0;
  for (const BaselineRow& row : surface) {
    styles.push_back(said_of_style(of_others, row.surface));
    square_style_lead += std::pow(styles.back().lead, 2) / count;
    square_style_tie += std::pow(styles.back().tie, 2) / count;
  }
  for (const CalibrationRow& row : rows) {
    margins.push_back(margins_of(row));
    square_lead += std::pow(margins.back().lead, 2) / count;
    fit.margin_mean += std::abs(margins.back().lead) / count;
    if (margins.back().has_tie) square_tie += std::pow(margins.back().tie, 2) / count;
  }
  for (const Margins& of : margins) square_margin += std::pow(std::abs(of.lead) - fit.margin_mean, 2) / count;
  fit.margin_scale = scale_of(square_margin);
  // The judge's own weights stay in their units, where 1 is the judge as it is: a penalty for the square of what they
  // add.
  std::vector<double> centers(kStyleOwn + kLeadFeatures.size() + kTieFeatures.size(), 0), strengths(centers.size(), 1);
  centers[0] = centers[1] = 1;
  strengths[0] = kJudgeStrength * std::max(square_lead, 1e-6);
  strengths[1] = kJudgeStrength * std::max(square_tie, 1e-6);
  strengths[3] = kJudgeStrength;
  strengths[4] = kJudgeStrength * std::max(square_style_lead, 1e-6);
  strengths[5] = kJudgeStrength * std::max(square_style_tie, 1e-6);
  fit.rows = PairRows(std::move(centers), std::move(strengths), have_ties(rows));
  fit.search.penalties = {10000, 1000, 100, 10, 1};
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<Term> lead = {{0, static_cast<float>(margins[i].lead)}, {4, static_cast<float>(styles[i].lead)}},
                      tie = {{1, static_cast<float>(margins[i].has_tie ? margins[i].tie : 0)},
                             {2, static_cast<float>((std::abs(margins[i].lead) - fit.margin_mean) * fit.margin_scale)},
                             {3, 1},
                             {5, static_cast<float>(styles[i].tie)}};
    uint32_t index = kStyleOwn;
    for (size_t f = 0; f < kLeadFeatures.size(); ++f)
      lead.push_back({index++, static_cast<float>(surface[i].surface.lead[f] * fit.lead_scale[f])});
    for (size_t f = 0; f < kTieFeatures.size(); ++f)
      tie.push_back({index++, static_cast<float>((surface[i].surface.tie[f] - fit.tie_mean[f]) * fit.tie_scale[f])});
    fit.rows.add(lead, tie, rows[i].label);
  }
  return fit;
}

Calibration style_from(const CalibrationFit& fit, std::span<const double> weights, const StyleWeights& of_others = {}) {
  Calibration found;
  found.kind = CalibrationKind::kStyle;
  StyleWeights& style = found.style;
  style.judge = weights[0];
  style.judge_tie = weights[1];
  style.margin = weights[2] * fit.margin_scale;
  style.constant = weights[3] - style.margin * fit.margin_mean + weights[5] * of_others.constant;
  size_t index = kStyleOwn;
  for (size_t f = 0; f < style.lead.size(); ++f)
    style.lead[f] = weights[index++] * fit.lead_scale[f] + weights[4] * of_others.lead[f];
  for (size_t f = 0; f < style.tie.size(); ++f) {
    const double own = weights[index++] * fit.tie_scale[f];
    style.tie[f] = own + weights[5] * of_others.tie[f];
    style.constant -= own * fit.tie_mean[f];
  }
  return found;
}

std::vector<uint8_t> folds_of(std::span<const BaselineRow> surface) {
  std::vector<uint64_t> prompts;
  for (const BaselineRow& row : surface) prompts.push_back(row.prompt);
  return folds_by_prompt(prompts);
}

/** A style model of labelled rows that no judge has seen: one beside a judge that says nothing. */
StyleWeights style_alone(std::span<const BaselineRow> surface) {
  if (surface.empty()) return {};
  std::vector<CalibrationRow> rows;
  for (const BaselineRow& row : surface) rows.push_back({{}, std::nullopt, row.label});
  const CalibrationFit fit = style_fit(rows, surface);
  return style_from(fit, fit_with_search(fit.rows, folds_of(surface), fit.search)).style;
}

double mean_loss(std::span<const CalibrationRow> rows, std::span<const Label> said) {
  double loss = 0;
  for (size_t i = 0; i < rows.size(); ++i) loss += loss_of_label(rows[i].label, said[i]);
  return loss / static_cast<double>(rows.size());
}

double applied_loss(const Calibration& calibration, std::span<const CalibrationRow> rows,
                    std::span<const BaselineRow> surface) {
  double loss = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    loss += loss_of_label(rows[i].label, calibration.apply(rows[i].logits, rows[i].swapped_logits, surface[i].surface));
  return loss / static_cast<double>(rows.size());
}

/** Each fold at the temperature of the others. */
double temperature_held_out(std::span<const CalibrationRow> rows, std::span<const uint8_t> folds) {
  double loss = 0;
  for (size_t fold = 0; fold < kCrossFolds; ++fold) {
    std::vector<CalibrationRow> fitted, judged;
    for (size_t i = 0; i < rows.size(); ++i) (folds[i] == fold ? judged : fitted).push_back(rows[i]);
    loss += log_loss_at(judged, fit_temperature(fitted)) * static_cast<double>(judged.size());
  }
  return loss / static_cast<double>(rows.size());
}

bool at_bound(double temperature) {
  return temperature <= kLowestTemperature * 1.001 || temperature >= kHighestTemperature / 1.001;
}

}  // namespace

double log_loss_at(std::span<const CalibrationRow> rows, double temperature) {
  Calibration calibration;
  calibration.temperature = temperature;
  double loss = 0;
  for (const CalibrationRow& row : rows)
    loss += loss_of_label(row.label, calibration.apply(row.logits, row.swapped_logits, {}));
  return loss / static_cast<double>(rows.size());
}

double fit_temperature(std::span<const CalibrationRow> rows) {
  if (rows.empty()) fail("calibration: no labelled rows to fit a temperature on");
  // A coarse scan finds the valley, a golden section its floor, both over the logarithm of the temperature.
  constexpr int kSteps = 60;
  const double low = std::log(kLowestTemperature), width = std::log(kHighestTemperature) - low;
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

FittedCalibration fit_calibration(CalibrationKind kind, std::span<const CalibrationRow> rows,
                                  std::span<const BaselineRow> surface, std::span<const BaselineRow> others) {
  if (rows.empty()) fail("calibration: there are no labelled rows to fit it on");
  if (rows.size() != surface.size()) fail("calibration: {} rows and surfaces of {}", rows.size(), surface.size());
  check_finite(rows);
  const std::vector<uint8_t> folds = folds_of(surface);
  const bool enough = can_cross_validate(folds);
  FittedCalibration result;
  std::vector<CalibrationFigure> figures;
  const double plain = log_loss_at(rows, 1);
  figures.push_back({"none", plain, plain});
  Calibration& found = result.calibration;
  found.temperature = fit_temperature(rows);
  figures.push_back(
      {"temperature", applied_loss(found, rows, surface), enough ? temperature_held_out(rows, folds) : std::nan("")});
  auto add = [&](const CalibrationFit& fit, const Calibration& fitted) {
    found = fitted;
    figures.push_back({std::string(calibration_name(fitted.kind)), applied_loss(fitted, rows, surface),
                       enough ? mean_loss(rows, cross_validate(fit.rows, folds, fit.search)) : std::nan("")});
  };
  if (kind != CalibrationKind::kTemperature) {
    const CalibrationFit fit = classes_fit(rows);
    std::vector<double> weights = fit_with_search(fit.rows, folds, fit.search);
    const double slope = std::clamp(weights[0], 1 / kHighestTemperature, 1 / kLowestTemperature);
    if (slope != weights[0]) {
      const CalibrationFit fixed = classes_fit(rows, slope);
      weights = fit_with_search(fixed.rows, folds, fixed.search);
      weights[0] = slope;
    }
    add(fit, classes_from(weights));
  }
  if (kind == CalibrationKind::kStyle) {
    const StyleWeights of_others = style_alone(others);
    const CalibrationFit fit = style_fit(rows, surface, of_others);
    add(fit, style_from(fit, fit_with_search(fit.rows, folds, fit.search), of_others));
  }
  found.rows = static_cast<int64_t>(rows.size());
  found.figures = figures;
  if (rows.size() < kFewRows)
    result.warnings.push_back(fmt::format(
        "a calibration fitted to {} rows is uncertain; {} are the least to trust it by", rows.size(), kFewRows));
  if (kind != CalibrationKind::kStyle && at_bound(found.temperature))
    result.warnings.push_back(
        fmt::format("the temperature {:.4g} is a bound of the search ({} to {}): {}", found.temperature,
                    kLowestTemperature, kHighestTemperature,
                    found.temperature > 1
                        ? "on these rows the judge's answers say next to nothing, or the opposite of what they should"
                        : "on these rows the judge is right as good as always, so that no temperature is low enough"));
  const CalibrationFigure& last = found.figures.back();
  if (std::isfinite(last.cross_validated))
    for (const CalibrationFigure& simpler : std::span(found.figures).first(found.figures.size() - 1))
      if (simpler.cross_validated <= last.cross_validated) {
        result.warnings.push_back(fmt::format(
            "on rows held out of the fit it is no better ({:.4f}) than {} ({:.4f})", last.cross_validated,
            simpler.name == "none" ? "no calibration" : "--calibrate " + simpler.name, simpler.cross_validated));
        break;
      }
  return result;
}

}  // namespace gavel
