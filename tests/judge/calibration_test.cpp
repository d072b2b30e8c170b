// Temperatures against values of PyTorch; classes and style on made judges whose faults are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "judge/calibration_key.h"
#include "judge/evaluate.h"
#include "judge/fit_calibration.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

Outcome drawn(const Outcome& p, Random& random) {
  const double at = random.uniform();
  Outcome label{};
  label[at < p[0] ? 0 : at < p[0] + p[1] ? 1 : 2] = 1;
  return label;
}

double normal(Random& random) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += random.uniform();
  return sum;
}

struct MadeRows {
  std::vector<CalibrationRow> rows;
  std::vector<BaselineRow> surface;
};

/** Votes that follow `truth(logits, length distance)`, judged by `logits`. */
template <class Truth>
MadeRows made_rows(size_t count, Truth truth, uint64_t seed = 1, bool has_tie = true) {
  Random random(seed);
  MadeRows made;
  for (size_t i = 0; i < count; ++i) {
    BaselineRow& surface = made.surface.emplace_back();
    surface.prompt = i;
    surface.surface.lead[0] = static_cast<float>(normal(random));
    CalibrationRow& row = made.rows.emplace_back();
    row.logits = {normal(random), normal(random), has_tie ? normal(random) : -INFINITY};
    row.label = drawn(truth(row.logits, static_cast<double>(surface.surface.lead[0])), random);
    surface.label = row.label;
  }
  return made;
}

double figure(const Calibration& calibration, const std::string& name, bool held_out = true) {
  for (const CalibrationFigure& one : calibration.figures)
    if (one.name == name) return held_out ? one.cross_validated : one.in_sample;
  ADD_FAILURE() << name;
  return 0;
}

TEST(FitCalibration, TheTemperatureIsThatOfPyTorch) {
  const std::vector<Outcome> logits = {{2, 0, -1}, {0.5, 1.5, 0},    {-1, 1, 0.25},
                                       {0, 0, 1},  {1.5, -0.5, 0.5}, {0.25, 0.75, -2}},
                             other = {{1.5, 0.5, -1}, {0, 1, 0}, {-0.5, 0.5, 0.25},
                                      {0.5, -0.5, 1}, {1, 0, 0}, {0, 1, -1}};
  const std::vector<size_t> labels = {0, 1, 0, 2, 0, 2};
  std::vector<CalibrationRow> rows;
  for (size_t i = 0; i < logits.size(); ++i) {
    rows.push_back({logits[i], std::nullopt, {}});
    rows.back().label[labels[i]] = 1;
  }
  EXPECT_NEAR(fit_temperature(rows), 3.376133727, 1e-5);
  EXPECT_NEAR(log_loss_at(rows, 3.376133727), 1.064172578, 1e-8);
  for (size_t i = 0; i < logits.size(); ++i) rows[i].swapped_logits = other[i];
  EXPECT_NEAR(fit_temperature(rows), 2.195220414, 1e-5);
  EXPECT_NEAR(log_loss_at(rows, 2.195220414), 1.043663388, 1e-8);
}

TEST(FitCalibration, ClassesPutRightWhatATemperatureCannot) {
  // Twice too sure, and it never says tie.
  const MadeRows made =
      made_rows(3000, [](const Outcome& z, double) { return softmax({z[0] / 2, z[1] / 2, z[2] / 2 + 1}); });
  const FittedCalibration found = fit_calibration(CalibrationKind::kClasses, made.rows, made.surface);
  EXPECT_NEAR(found.calibration.temperature, 2, 0.3);
  EXPECT_NEAR(found.calibration.bias[2] - found.calibration.bias[0], 1, 0.15);
  EXPECT_NEAR(found.calibration.bias[0], found.calibration.bias[1], 0.15);
  EXPECT_LT(figure(found.calibration, "classes"), figure(found.calibration, "temperature") - 0.02);
  EXPECT_LT(figure(found.calibration, "temperature"), figure(found.calibration, "none"));
  EXPECT_THAT(found.warnings, testing::IsEmpty());
}

TEST(FitCalibration, StyleTakesAwayAPreferenceForLength) {
  const MadeRows made = made_rows(
      3000, [](const Outcome& z, double length) { return softmax({z[0] - 0.8 * length, z[1] + 0.8 * length, z[2]}); });
  const FittedCalibration found = fit_calibration(CalibrationKind::kStyle, made.rows, made.surface);
  const Calibration& style = found.calibration;
  EXPECT_NEAR(style.style.lead[0], -0.8, 0.1);
  EXPECT_NEAR(style.style.judge, 1, 0.1);
  EXPECT_NEAR(style.style.judge_tie, 1, 0.1);
  EXPECT_LT(figure(style, "style"), figure(style, "classes") - 0.05);
  EXPECT_LT(figure(style, "style", false), figure(style, "style"));  // in sample it looks better than it is
  EXPECT_THAT(found.warnings, testing::IsEmpty());
  // Exchanging the answers exchanges the probabilities.
  for (const CalibrationRow& row : std::span(made.rows).first(20)) {
    SurfaceFeatures there, back;
    there.lead[0] = 0.7F;
    back.lead[0] = -0.7F;
    there.tie[2] = back.tie[2] = 5;
    const Outcome p = style.apply(row.logits, std::nullopt, there),
                  q = style.apply({row.logits[1], row.logits[0], row.logits[2]}, std::nullopt, back);
    EXPECT_NEAR(p[0], q[1], 1e-12);
    EXPECT_NEAR(p[1], q[0], 1e-12);
    EXPECT_NEAR(p[2], q[2], 1e-12);
  }
}

/** Sixty rows are too few to learn what 3,000 others say of length, and enough to see that it holds here too. */
TEST(FitCalibration, StyleOfOtherRowsNeedsFewOfItsOwn) {
  auto longer_wins = [](const Outcome& z, double length) {
    return softmax({z[0] + 0.5 * length, z[1] - 0.5 * length, z[2]});
  };
  const MadeRows others = made_rows(3000, longer_wins, 1), made = made_rows(60, longer_wins, 2);
  auto figure_with = [&](std::span<const BaselineRow> of) {
    return figure(fit_calibration(CalibrationKind::kStyle, made.rows, made.surface, of).calibration, "style");
  };
  EXPECT_LT(figure_with(others.surface), figure_with({}) - 0.02);
  const StyleWeights found =
      fit_calibration(CalibrationKind::kStyle, made.rows, made.surface, others.surface).calibration.style;
  EXPECT_GT(found.lead[0], 0.15);
}

TEST(FitCalibration, WhatNothingCanBeGainedFromIsSaid) {
  const MadeRows made = made_rows(400, [](const Outcome& z, double) { return softmax(z); });
  const FittedCalibration found = fit_calibration(CalibrationKind::kStyle, made.rows, made.surface);
  EXPECT_NEAR(figure(found.calibration, "style"), figure(found.calibration, "none"), 0.02);
  EXPECT_THAT(found.warnings, testing::ElementsAre(HasSubstr("no better")));
}

TEST(FitCalibration, JudgesOfTwoOutcomesHaveNoTie) {
  const MadeRows made = made_rows(
      800, [](const Outcome& z, double length) { return softmax({z[0] + length, z[1] - length, z[2]}); }, 2, false);
  for (CalibrationKind kind : {CalibrationKind::kTemperature, CalibrationKind::kClasses, CalibrationKind::kStyle}) {
    const FittedCalibration found = fit_calibration(kind, made.rows, made.surface);
    const Outcome p = found.calibration.apply(made.rows[0].logits, made.rows[0].logits, made.surface[0].surface);
    EXPECT_EQ(p[2], 0);
    EXPECT_NEAR(p[0] + p[1], 1, 1e-12);
    EXPECT_TRUE(std::isfinite(found.calibration.figures.back().cross_validated));
  }
}

TEST(FitCalibration, FewRowsBoundsAndWhatIsNoNumberAreTold) {
  // A judge that is always wrong.
  MadeRows made = made_rows(40, [](const Outcome& z, double) { return softmax({-9 * z[0], -9 * z[1], -9 * z[2]}); });
  for (CalibrationKind kind : {CalibrationKind::kTemperature, CalibrationKind::kClasses}) {
    const FittedCalibration found = fit_calibration(kind, made.rows, made.surface);
    EXPECT_THAT(found.warnings, testing::Contains(HasSubstr("40 rows")));
    EXPECT_THAT(found.warnings, testing::Contains(HasSubstr("bound of the search")));
    EXPECT_NEAR(found.calibration.temperature, 20, 0.02);
  }
  for (CalibrationRow& row : made.rows) {
    const auto best = std::max_element(row.label.begin(), row.label.end()) - row.label.begin();
    row.logits = {};
    row.logits[static_cast<size_t>(best)] = 1;
  }
  const FittedCalibration always = fit_calibration(CalibrationKind::kTemperature, made.rows, made.surface);
  EXPECT_NEAR(always.calibration.temperature, 0.05, 1e-4);
  EXPECT_THAT(always.warnings, testing::Contains(HasSubstr("bound of the search")));

  made.rows[6].logits[1] = std::nan("");
  try {
    fit_calibration(CalibrationKind::kTemperature, made.rows, made.surface);
    ADD_FAILURE() << "fitted to NaN";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("row 7"), HasSubstr("logit of B"), HasSubstr("nan")));
  }
  made.rows[6].logits[1] = 0;
  made.rows[6].label = {0, 0, 0};
  EXPECT_THROW(fit_calibration(CalibrationKind::kTemperature, made.rows, made.surface), Error);
  EXPECT_THROW(fit_calibration(CalibrationKind::kTemperature, {}, {}), Error);
  // Too few to hold some out.
  MadeRows few = made_rows(4, [](const Outcome& z, double) { return softmax(z); });
  EXPECT_TRUE(std::isnan(
      fit_calibration(CalibrationKind::kStyle, few.rows, few.surface).calibration.figures.back().cross_validated));
}

TEST(CalibrationFile, BothOrdersComeBackAndWhatBelongsToSomethingElseIsNamed) {
  const TempFolder folder("gavel_calibration_test");
  EXPECT_FALSE(read_calibration(folder.path()));
  const CalibrationKey key{"a1", "b1", {{"data.max_length", "48"}, {"data.template", "origin"}}};
  Calibration classes;
  classes.kind = CalibrationKind::kClasses;
  classes.temperature = 1.5;
  classes.bias = {0.25, -0.25, 0.5};
  classes.data = "rows\xff.csv";
  classes.rows = 60;
  classes.figures = {{"none", 1.1, std::nan("")}};
  Calibration style;
  style.kind = CalibrationKind::kStyle;
  style.swap_average = 1;
  style.style.lead[3] = 0.125;
  style.style.tie[1] = -0.5;
  style.style.constant = 2;
  save_calibration(folder.path(), key, classes);
  save_calibration(folder.path(), key, style);
  auto found = read_calibration(folder.path());
  ASSERT_TRUE(found && found->one_order && found->both_orders);
  EXPECT_EQ(found->fitted_for, key);
  EXPECT_EQ(found->for_swap(0)->bias, classes.bias);
  EXPECT_EQ(found->for_swap(0)->rows, 60);
  EXPECT_TRUE(std::isnan(found->for_swap(0)->figures[0].cross_validated));
  EXPECT_EQ(found->for_swap(0.5)->style.lead, style.style.lead);
  EXPECT_EQ(found->for_swap(1)->style.tie, style.style.tie);
  EXPECT_EQ(found->for_swap(1)->style.constant, 2);

  CalibrationKey other = key;
  EXPECT_EQ(calibration_mismatch(key, other), "");
  other.settings["data.max_length"] = "64";
  EXPECT_EQ(calibration_mismatch(key, other), "data.max_length: 48 (it is 64 now)");
  other.base = "b2";
  EXPECT_THAT(calibration_mismatch(key, other), HasSubstr("base"));
  other.adapter = "a2";
  EXPECT_THAT(calibration_mismatch(key, other), HasSubstr("adapter"));
  // What was fitted for another adapter goes when a new one is written.
  save_calibration(folder.path(), other, classes);
  found = read_calibration(folder.path());
  EXPECT_FALSE(found->both_orders);
  EXPECT_EQ(found->for_swap(1)->kind, CalibrationKind::kClasses);  // the other one is better than none
}

TEST(CalibrationFile, BrokenFilesAreNamed) {
  const TempFolder folder("gavel_calibration_test");
  auto write = [&](const std::string& text) { write_file(folder.path() / "calibration.json", text); };
  // Version 1.
  write(R"({"temperature": 0.5, "swap_average": 1, "rows": 12})");
  EXPECT_FALSE(read_calibration(folder.path())->fitted_for);
  EXPECT_EQ(read_calibration(folder.path())->both_orders->temperature, 0.5);
  for (
      const char* bad :
      {"", "[]", "{}", R"({"temperature": 0})", R"({"temperature": 1e999})", R"({"version": 3})", R"({"version": 2})",
       R"({"version": 2, "fitted_for": {"settings": {}}, "one_order": {"kind": "x"}})",
       R"({"version": 2, "fitted_for": {"settings": {}}, "one_order": {"kind": "classes", "temperature": 1}})",
       R"({"version": 2, "fitted_for": {"settings": {}}, "one_order": {"kind": "style", "lead": {"judge": 1}, "tie": {}}})",
       R"({"version": 2, "fitted_for": {"settings": {}}, "one_order": []})"}) {
    write(bad);
    try {
      read_calibration(folder.path());
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("calibration.json")) << bad;
    }
  }
}

TEST(CalibrationKeyOf, ChangesWithAdapterBaseAndWhatIsRead) {
  const TempFolder folder("gavel_calibration_test");
  const auto adapter = folder.path() / "adapter", base = folder.path() / "base";
  make_folder(adapter);
  make_folder(base);
  write_file(adapter / "adapter_model.safetensors", "weights");
  write_file(base / "model.safetensors", std::string(100'000, 'x'));
  Recipe recipe;
  const CalibrationKey key = calibration_key({adapter}, base, recipe);
  EXPECT_EQ(key.settings.at("data.max_length"), "1024");
  EXPECT_EQ(key.settings.count("data.template"), 1u);
  EXPECT_EQ(key.settings.count("data.truncation"), 1u);
  EXPECT_EQ(key.settings.count("task"), 1u);
  EXPECT_EQ(key.settings.count("model.num_labels"), 1u);
  Recipe same = recipe;
  same.train.batch_size = 3;
  same.data.train = "other.csv";
  EXPECT_EQ(calibration_key({adapter}, base, same), key);
  same.data.max_length = 64;
  EXPECT_FALSE(calibration_key({adapter}, base, same) == key);
  write_file(base / "model.safetensors", std::string(100'000, 'y'));
  EXPECT_NE(calibration_key({adapter}, base, recipe).base, key.base);
  write_file(adapter / "adapter_model.safetensors", "weighty");
  EXPECT_NE(calibration_key({adapter}, base, recipe).adapter, key.adapter);
}

}  // namespace
}  // namespace gavel
