#include "judge/judge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/file.h"
#include "judge/calibration_key.h"
#include "judge/ensemble.h"
#include "rows/cleaning.h"
#include "setup/open_device.h"
#include "setup/open_model.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

size_t largest(const Outcome& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

/** Distance of the two largest: small where a judge hesitates. */
double margin(Outcome p) {
  std::sort(p.begin(), p.end());
  return p[2] - p[1];
}

/** What a calibration reads of a pair beside what the judge says of it. */
SurfaceFeatures surface_for(const Calibration& calibration, const PreferenceRow& row) {
  return calibration.kind == CalibrationKind::kStyle ? surface_features(row) : SurfaceFeatures{};
}

/** Judges of an ensemble read the same text and have their adapters in the same places. */
void require_fitting(const LoadedAdapter& first, const LoadedAdapter& other, const std::filesystem::path& first_folder,
                     const std::filesystem::path& folder) {
  require_read_alike("ensemble", folder, other.recipe, first_folder, first.recipe);
  auto differs = [&](const std::string& what, const std::string& theirs, const std::string& its) {
    fail("{}: {} is {}, in {} it is {}; judges of one ensemble need the same", folder.string(), what, its,
         first_folder.string(), theirs);
  };
  if (other.recipe.model.path != first.recipe.model.path)
    differs("model.path", first.recipe.model.path, other.recipe.model.path);
  if (!(first.weights.config.lora == other.weights.config.lora) ||
      first.weights.config.learns_tie != other.weights.config.learns_tie)
    differs("the adapter", fmt::format("of rank {}", first.weights.config.lora.r),
            fmt::format("of rank {}, or has other modules or scaling", other.weights.config.lora.r));
}

}  // namespace

std::vector<int64_t> judging_lengths(int64_t max_length) {
  std::vector<int64_t> lengths;
  for (int64_t length : {64, 128, 192, 256, 384})
    if (length < max_length) lengths.push_back(length);
  for (int64_t base = 512; base < max_length; base *= 2)
    for (int64_t length : {base, base + base / 2})
      if (length < max_length) lengths.push_back(length);
  lengths.push_back(max_length);
  return lengths;
}

const char* outcome_name(size_t outcome) {
  constexpr const char* kNames[] = {"A is better", "B is better", "tie"};
  return kNames[outcome];
}

size_t Verdict::best() const {
  return largest(probabilities);
}

bool Verdict::flipped() const {
  return swapped_logits && largest(logits) != largest(*swapped_logits);
}

Judge::Judge(const JudgeOptions& options) : folder_(options.adapter), adapters_(ensemble_members(options.adapter)) {
  const bool ensemble = !adapters_.empty();
  if (!ensemble) adapters_.push_back(options.adapter);
  auto load = [&](const std::filesystem::path& folder) {
    return load_adapter({folder, options.model, options.overrides, options.use_temperature && !ensemble, {}});
  };
  LoadedAdapter loaded = load(adapters_.front());
  recipe_ = loaded.recipe;
  calibration_ = std::move(loaded.calibration);
  base_ = loaded.files.path();
  if (ensemble) {
    if (auto calibration = options.use_temperature ? read_calibration(folder_) : std::nullopt) {
      drop_if_fitted_for_another(*calibration, folder_, calibration_key());
      calibration_ = std::move(*calibration);
    }
    members_.push_back(loaded.weights.values);
    for (size_t i = 1; i < adapters_.size(); ++i) {
      LoadedAdapter member = load(adapters_[i]);
      require_fitting(loaded, member, adapters_.front(), adapters_[i]);
      members_.push_back(std::move(member.weights.values));
    }
  }
  tokenize_ = tokenize_options(recipe_, loaded.tokenizer);
  encoder_ = make_encoder(loaded.tokenizer);
  if (options.before_device) options.before_device(recipe_);
  std::shared_ptr<pjrt::Client> client = open_device(recipe_);
  StepOptions step = step_options(recipe_, loaded.files.spec(), *client);
  step.model.lora = loaded.weights.config.lora;
  step.model.prefixes = false;  // its batches are padded
  engine_ = std::make_unique<Engine>(client, step, compile_cache_folder());
  engine_->load_frozen(loaded.files);
  engine_->set_trainable(loaded.weights.values);
  shapes_.lengths = judging_lengths(recipe_.data.max_length);
  for (int64_t size = 1; size < recipe_.train.batch_size; size *= 2) shapes_.batch_sizes.push_back(size);
  shapes_.batch_sizes.push_back(recipe_.train.batch_size);
}

const Calibration* Judge::calibration(double swap_average) const {
  // A reward is never judged both ways.
  return calibration_.for_swap(engine_->options().task->texts_per_row() == 2 ? 0 : swap_average);
}

std::string Judge::calibration_warning(double swap_average) const {
  const Calibration* used = calibration(swap_average);
  const bool one_order_alone = engine_->options().task->texts_per_row() == 2;
  if (used == nullptr || one_order_alone || used->swap_average == swap_average) return "";
  return fmt::format(
      "calibration.json ({}) was fitted with --swap-average {:g} and is used with {:g}: fit one for that with gavel "
      "eval "
      "--calibrate {} --swap-average {:g}",
      used->describe(), used->swap_average, swap_average, calibration_name(used->kind), swap_average);
}

CalibrationKey Judge::calibration_key() const {
  return gavel::calibration_key(adapters_, base_, recipe_);
}

std::string Judge::fingerprint() const {
  Recipe settings = recipe_;
  settings.output.clear();
  std::string weights, configs;
  for (const std::filesystem::path& folder : adapters_) {
    weights += fmt::format("{:016x}-", hash_text(MappedFile::open(folder / "adapter_model.safetensors")->text(), 1));
    configs += read_text(folder / "adapter_config.json");
  }
  const std::string calibration = calibration_.empty() ? "" : read_text(folder_ / "calibration.json");
  return fmt::format("{}{:016x}-{:016x}", weights, hash_text(to_yaml(settings) + configs, 2),
                     hash_text(calibration, 3));
}

BatchOptions Judge::options_for(int64_t rows) const {
  BatchOptions options =
      judging_options(batch_options(recipe_, engine_->traits(), engine_->options().model.placement.mesh()));
  options.batching = Batching::kBucketed;
  options.bucket_lengths = shapes_.lengths;
  auto size = std::lower_bound(shapes_.batch_sizes.begin(), shapes_.batch_sizes.end(), rows);
  options.batch_size = size == shapes_.batch_sizes.end() ? shapes_.batch_sizes.back() : *size;
  return options;
}

/** One pass over the rows as they are; notes their lengths. */
Judgement Judge::judge_once(std::vector<PreferenceRow> rows, std::vector<Verdict>* lengths, const RowsDone& done) {
  BatchOptions options = options_for(static_cast<int64_t>(rows.size()));
  Batcher batcher(tokenize(rows, tokenize_, encoder_), options);
  if (lengths != nullptr)
    for (size_t i = 0; i < rows.size(); ++i) {
      (*lengths)[i].length = batcher.dataset().length(static_cast<int64_t>(i));
      (*lengths)[i].full_length = batcher.dataset().full_length(static_cast<int64_t>(i));
      if (engine_->options().task->texts_per_row() == 2)
        (*lengths)[i].length_b = batcher.dataset().length(static_cast<int64_t>(i), true);
    }
  return judge_by_all(batcher, done, [&](int64_t row) {
    const PreferenceRow& pair = rows[static_cast<size_t>(row)];
    return pair.source_row > 0 ? fmt::format("row {} (id {})", pair.source_row, pair.id)
                               : fmt::format("pair {}", pair.id);
  });
}

/** Rewards of the answers, each a row of its own, and what follows from them for the pairs. */
std::vector<Verdict> Judge::judge_by_single_rewards(std::span<const PreferenceRow> rows, const RowsDone& done) {
  std::vector<PreferenceRow> answers(rows.begin(), rows.end());
  std::vector<size_t> pairs;
  for (size_t i = 0; i < rows.size(); ++i)
    if (!rows[i].response_b.empty()) {
      answers.push_back(swapped(rows[i]));
      pairs.push_back(i);
    }
  const double share = static_cast<double>(rows.size()) / static_cast<double>(answers.size());
  std::vector<Verdict> noted(answers.size()), verdicts(rows.size());
  const Judgement judgement = judge_once(std::move(answers), &noted, [&](int64_t count) {
    if (done) done(static_cast<int64_t>(static_cast<double>(count) * share));
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    verdicts[i].length = noted[i].length;
    verdicts[i].full_length = noted[i].full_length;
    verdicts[i].rewards = judgement.rewards[i];
  }
  const Calibration* in_use = this->calibration(0);
  const Calibration calibration = in_use == nullptr ? Calibration{} : *in_use;
  for (size_t k = 0; k < pairs.size(); ++k) {
    Verdict& verdict = verdicts[pairs[k]];
    auto& [a, b] = *verdict.rewards;
    b = judgement.rewards[rows.size() + k][0];
    verdict.logits = {(a - b) / 2, (b - a) / 2, -std::numeric_limits<double>::infinity()};
    verdict.probabilities = calibration.apply(verdict.logits, std::nullopt, surface_for(calibration, rows[pairs[k]]));
  }
  return verdicts;
}

Judgement Judge::judge_by_all(const Batcher& batcher, const RowsDone& done,
                              const std::function<std::string(int64_t)>& row_name) {
  if (members_.empty()) return judge_dataset(*engine_, batcher, done, row_name);
  const auto count = static_cast<double>(members_.size());
  Judgement mean;
  for (size_t k = 0; k < members_.size(); ++k) {
    engine_->set_trainable(members_[k]);
    const int64_t before = static_cast<int64_t>(k) * batcher.dataset().num_rows();
    const Judgement own = judge_dataset(
        *engine_, batcher,
        [&](int64_t rows) {
          if (done) done((before + rows) / static_cast<int64_t>(members_.size()));
        },
        row_name);
    mean.probabilities.resize(own.probabilities.size());
    mean.rewards.resize(own.rewards.size());
    for (size_t i = 0; i < own.probabilities.size(); ++i)
      for (size_t c = 0; c < 3; ++c) mean.probabilities[i][c] += own.probabilities[i][c] / count;
    for (size_t i = 0; i < own.rewards.size(); ++i)
      for (size_t side = 0; side < 2; ++side) mean.rewards[i][side] += own.rewards[i][side] / count;
  }
  for (const Outcome& p : mean.probabilities) mean.logits.push_back({std::log(p[0]), std::log(p[1]), std::log(p[2])});
  return mean;
}

std::vector<Verdict> Judge::judge(std::span<const PreferenceRow> rows, double swap_average, const RowsDone& done) {
  std::vector<Verdict> verdicts(rows.size());
  if (engine_->options().task->texts_per_row() == 2) swap_average = 0;
  if (rows.empty()) return verdicts;
  if (engine_->options().task->reads_scores()) return judge_by_single_rewards(rows, done);
  auto swaps =
      static_cast<size_t>(std::ceil(std::clamp(swap_average, 0.0, 1.0) * static_cast<double>(rows.size()) - 1e-9));
  // Progress counts rows, of which those judged twice take twice as long.
  double per_pass = static_cast<double>(rows.size()) / static_cast<double>(rows.size() + swaps);
  auto pass_done = [&](size_t before) -> RowsDone {
    if (!done) return {};
    return [&done, before, per_pass](int64_t count) {
      done(static_cast<int64_t>(static_cast<double>(before + static_cast<size_t>(count)) * per_pass));
    };
  };

  const Calibration* in_use = this->calibration(swap_average);
  const Calibration calibration = in_use == nullptr ? Calibration{} : *in_use;
  std::vector<SurfaceFeatures> surface;
  for (const PreferenceRow& row : rows) surface.push_back(surface_for(calibration, row));
  auto settle = [&](size_t i) {
    Verdict& verdict = verdicts[i];
    verdict.probabilities = calibration.apply(verdict.logits, verdict.swapped_logits, surface[i]);
  };

  std::vector<PreferenceRow> first(rows.begin(), rows.end());
  bool all = swaps == rows.size();
  // All of them can share batches with their exchanges.
  if (all)
    for (const PreferenceRow& row : rows) first.push_back(swapped(row));
  std::vector<Verdict> noted(first.size());
  Judgement judgement = judge_once(std::move(first), &noted, pass_done(0));
  for (size_t i = 0; i < rows.size(); ++i) {
    verdicts[i].logits = judgement.logits[i];
    if (!judgement.rewards.empty()) verdicts[i].rewards = judgement.rewards[i];
    verdicts[i].length = noted[i].length;
    verdicts[i].full_length = noted[i].full_length;
    verdicts[i].length_b = noted[i].length_b;
    settle(i);
  }

  auto take_swapped = [&](size_t i, const Outcome& exchanged) {
    verdicts[i].swapped_logits = engine_->options().task->swapped(exchanged);
    settle(i);
  };
  if (all) {
    for (size_t i = 0; i < rows.size(); ++i) take_swapped(i, judgement.logits[rows.size() + i]);
  } else if (swaps > 0) {
    std::vector<size_t> order(rows.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return margin(verdicts[a].probabilities) < margin(verdicts[b].probabilities);
    });
    std::vector<PreferenceRow> exchanged;
    for (size_t i = 0; i < swaps; ++i) exchanged.push_back(swapped(rows[order[i]]));
    Judgement again = judge_once(std::move(exchanged), nullptr, pass_done(rows.size()));
    for (size_t i = 0; i < swaps; ++i) take_swapped(order[i], again.logits[i]);
  }
  return verdicts;
}

void Judge::use_shapes(JudgeShapes shapes) {
  if (shapes.lengths.empty() || shapes.batch_sizes.empty() || shapes.lengths.back() != recipe_.data.max_length)
    fail("Judge: shapes need batch sizes, and lengths that end in data.max_length {}", recipe_.data.max_length);
  shapes_ = std::move(shapes);
}

void Judge::warm_up(const std::function<void(int64_t)>& done) {
  int64_t ready = 0;
  for (int64_t size : shapes_.batch_sizes)
    for (int64_t length : shapes_.lengths) {
      DatasetBuilder builder(tokenize_, encoder_);
      const std::vector<int32_t> tokens(static_cast<size_t>(length), 1);
      builder.add_tokens(tokens, {}, tokenize_.with_swapped ? tokens : std::vector<int32_t>());
      judge_dataset(*engine_, Batcher(builder.finish(), options_for(size)));
      if (done) done(++ready);
    }
}

}  // namespace gavel
