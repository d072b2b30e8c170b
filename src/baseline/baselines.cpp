#include "baseline/baselines.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "baseline/cross_validation.h"
#include "rows/cleaning.h"

namespace gavel {

namespace {

/** From this many rows on, one fold of the fitted rows is held out to choose the weight decay, and not each in turn. */
constexpr size_t kManyBaselineRows = 2000;
/** A word's value: what a weight costs, beside that of a surface feature, whose values have the size 1. */
constexpr float kWordScale = 0.1F;

/** Where a row's features go, and what they are divided by. */
struct Layout {
  std::vector<size_t> lead, tie;  // of kLeadFeatures and kTieFeatures
  bool words = false;
  std::vector<float> lead_scale, tie_mean, tie_scale;
  /** The weight of each bucket that the measured rows use; others have none, so a small file is a small problem. */
  std::vector<uint32_t> word_weight;
  uint32_t num_words = 0;
  static constexpr uint32_t kNoWeight = UINT32_MAX;

  size_t num_surface() const { return 2 + lead.size() + tie.size(); }
  size_t num_weights() const { return num_surface() + num_words; }

  /** So that every feature has the size 1 on these rows; those that never differ become 0. */
  void measure(std::span<const BaselineRow> rows) {
    const auto count = static_cast<double>(rows.size());
    auto scale = [](double square) { return square > 1e-12 ? static_cast<float>(1 / std::sqrt(square)) : 0.0F; };
    for (size_t f : lead) {
      double square = 0;
      for (const BaselineRow& row : rows) square += std::pow(row.surface.lead[f], 2) / count;
      lead_scale.push_back(scale(square));
    }
    for (size_t f : tie) {
      double mean = 0, square = 0;
      for (const BaselineRow& row : rows) mean += row.surface.tie[f] / count;
      for (const BaselineRow& row : rows) square += std::pow(row.surface.tie[f] - mean, 2) / count;
      tie_mean.push_back(static_cast<float>(mean));
      tie_scale.push_back(scale(square));
    }
    if (!words) return;
    word_weight.assign(kWordBuckets, kNoWeight);
    for (const BaselineRow& row : rows)
      for (const Term& word : row.words)
        if (word_weight[word.index] == kNoWeight) word_weight[word.index] = num_words++;
  }

  void add(const BaselineRow& row, PairRows& to) const {
    // Labelled pairs come in an order of their own: in votes the first answer wins a little more often.
    std::vector<Term> of_lead = {{0, 1}}, of_tie = {{1, 1}};
    uint32_t index = 2;
    for (size_t i = 0; i < lead.size(); ++i) of_lead.push_back({index++, row.surface.lead[lead[i]] * lead_scale[i]});
    for (size_t i = 0; i < tie.size(); ++i)
      of_tie.push_back({index++, (row.surface.tie[tie[i]] - tie_mean[i]) * tie_scale[i]});
    if (words)
      for (const Term& word : row.words)
        if (word_weight[word.index] != kNoWeight)
          of_lead.push_back({index + word_weight[word.index], word.value * kWordScale});
    to.add(of_lead, of_tie, row.label);
  }
};

size_t index_in(std::span<const char* const> names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return i;
  fail("baselines: no feature is called '{}'", name);
}

Layout lengths_layout() {
  Layout layout;
  for (const char* name : {"length", "last length"}) layout.lead.push_back(index_in(kLeadFeatures, name));
  for (const char* name : {"prompt length", "turns", "mean length", "length distance"})
    layout.tie.push_back(index_in(kTieFeatures, name));
  return layout;
}

Layout surface_layout(bool words) {
  Layout layout;
  for (size_t i = 0; i < kLeadFeatures.size(); ++i) layout.lead.push_back(i);
  for (size_t i = 0; i < kTieFeatures.size(); ++i) layout.tie.push_back(i);
  layout.words = words;
  return layout;
}

double loss_of(const Label& label, const Label& p) {
  double loss = 0;
  for (size_t i = 0; i < 3; ++i)
    if (label[i] > 0) loss -= label[i] * std::log(std::max(p[i], 1e-300));
  return loss;
}

Baseline scored(std::string key, std::string name, std::span<const BaselineRow> rows, std::span<const Label> said) {
  Baseline found{std::move(key), std::move(name)};
  const auto count = static_cast<double>(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const Label& label = rows[i].label;
    found.losses.push_back(loss_of(label, said[i]));
    found.log_loss += found.losses.back() / count;
    const auto best = static_cast<size_t>(std::max_element(said[i].begin(), said[i].end()) - said[i].begin());
    found.accuracy += (label[best] == *std::max_element(label.begin(), label.end())) / count;
  }
  return found;
}

Label shares_of(std::span<const BaselineRow> rows, bool of_others) {
  Label shares{};
  // Half a row is added where other rows are judged, which may have an outcome that these never had.
  for (double& share : shares) share = of_others ? 0.5 : 0;
  for (const BaselineRow& row : rows)
    for (size_t i = 0; i < 3; ++i) shares[i] += row.label[i];
  const double total = shares[0] + shares[1] + shares[2];
  for (double& share : shares) share /= total;
  return shares;
}

std::vector<uint8_t> folds_of(std::span<const BaselineRow> rows) {
  std::vector<uint64_t> prompts;
  for (const BaselineRow& row : rows) prompts.push_back(row.prompt);
  return folds_by_prompt(prompts);
}

}  // namespace

BaselineRow baseline_row(const PreferenceRow& row, bool with_words) {
  BaselineRow found;
  found.surface = surface_features(row);
  if (with_words) found.words = word_terms(row);
  for (const std::string& turn : row.prompt) found.prompt = hash_text(turn, found.prompt);
  for (size_t i = 0; i < 3; ++i) found.label[i] = static_cast<double>(row.label[i]);
  return found;
}

std::vector<Baseline> score_baselines(std::span<const BaselineRow> rows, std::span<const BaselineRow> fit_on) {
  if (rows.empty()) fail("baselines: there are no labelled rows");
  const bool of_others = !fit_on.empty();
  const std::span<const BaselineRow> fitted = of_others ? fit_on : rows;
  std::vector<Baseline> found;
  found.push_back(
      scored("shares", "label shares", rows, std::vector<Label>(rows.size(), shares_of(fitted, of_others))));
  const std::vector<uint8_t> folds = folds_of(fitted);
  if (!of_others && !can_cross_validate(folds)) return found;
  auto has_tie = [](std::span<const BaselineRow> part) {
    return std::any_of(part.begin(), part.end(), [](const BaselineRow& row) { return row.label[2] > 0; });
  };
  const bool ties = has_tie(fitted) || has_tie(rows);
  auto add = [&](const char* key, const char* name, Layout layout) {
    layout.measure(fitted);
    std::vector<double> strengths(layout.num_weights(), 1);
    strengths[0] = strengths[1] = 0.1;  // nearly free
    PairRows all(std::vector<double>(layout.num_weights(), 0), std::move(strengths), ties);
    for (const BaselineRow& row : fitted) layout.add(row, all);
    PenaltySearch search;
    const bool many = fitted.size() >= kManyBaselineRows;
    if (many) search.folds = 1;
    if (layout.words) {
      // Thousands of weights: the weak ones are never best, the strong ones only where rows are few.
      search.penalties = many ? std::vector<double>{30, 10, 3} : std::vector<double>{1000, 300, 100, 30, 10, 3};
      search.precision = 1e-4;
    }
    std::vector<Label> said;
    if (of_others) {
      const std::vector<double> weights = fit_with_search(all, folds, search);
      PairRows others(std::vector<double>(layout.num_weights(), 0), all.strengths(), ties);
      for (const BaselineRow& row : rows) layout.add(row, others);
      for (size_t i = 0; i < rows.size(); ++i) said.push_back(others.probabilities(i, weights));
    } else {
      said = cross_validate(all, folds, search);
    }
    found.push_back(scored(key, name, rows, said));
  };
  add("lengths", "lengths alone", lengths_layout());
  add("surface", "style features alone", surface_layout(false));
  auto has_words = [](std::span<const BaselineRow> part) {
    return std::any_of(part.begin(), part.end(), [](const BaselineRow& row) { return !row.words.empty(); });
  };
  if (has_words(fitted) && has_words(rows)) add("words", "words and style features", surface_layout(true));
  return found;
}

double PairedDifference::errors() const {
  return standard_error > 0 ? mean / standard_error : 0;
}

PairedDifference paired_difference(std::span<const double> theirs, std::span<const double> ours) {
  if (theirs.size() != ours.size() || theirs.size() < 2) return {std::nan(""), std::nan("")};
  const auto count = static_cast<double>(theirs.size());
  PairedDifference found;
  for (size_t i = 0; i < theirs.size(); ++i) found.mean += (theirs[i] - ours[i]) / count;
  double square = 0;
  for (size_t i = 0; i < theirs.size(); ++i) square += std::pow(theirs[i] - ours[i] - found.mean, 2);
  found.standard_error = std::sqrt(square / (count - 1) / count);
  return found;
}

}  // namespace gavel
