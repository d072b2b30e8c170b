#include "train/training_loop.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "report/table.h"
#include "setup/data_files.h"
#include "trace/spans.h"
#include "train/validation_rows.h"

namespace gavel {

namespace {

constexpr int64_t kMostSkippedInARow = 10;
// Halving the first loss scale so often leaves nothing of it.
constexpr int64_t kMostOverflowsInARow = 40;
// A loss has exploded at so many times the smoothed loss and at least twice that of guessing (a batch of a
// nearly perfect judge may well be ten times its mean), or at five times that of guessing, where no judge
// belongs.
constexpr double kJump = 10, kAtLeast = 2, kHopeless = 5;
constexpr int64_t kFirstWarned = 25;   // fresh heads may begin anywhere
constexpr int64_t kStepsOfQuiet = 50;  // after a warning of one

/** Not "-nan", whose sign says nothing. */
double without_sign(double value) {
  return std::isnan(value) ? std::abs(value) : value;
}

/** Leaves an evaluation. */
struct SignalCame {};

}  // namespace

TrainingLoop::TrainingLoop(const TrainingParts& parts, RunState state)
    : p_(parts),
      state_(std::move(state)),
      log_(parts.folder.path(), parts.recipe.train.tensorboard, state_.step == 0 ? 0 : state_.step + 1,
           [this](const std::string& text) { p_.display.warn(text); }),
      store_(parts.folder.checkpoints()),
      saved_step_(parts.saved_step),
      signal_said_(parts.group, "signal"),
      saved_said_(parts.group, "saved"),
      valid_log_loss_(std::nan("")),
      valid_accuracy_(std::nan("")),
      work_(parts.engine.options(), parts.train) {}

/** A forward pass before training, on a batch that training does not lose. */
void TrainingLoop::first_look() {
  StepBatches first = p_.train.step(0);
  BatchShape shape = shape_of(first.micro[0]);
  p_.engine.evaluation_program(shape);  // compiled before the clock starts
  double start = steady_seconds();
  Evaluation found = p_.engine.evaluate(first.micro[0]);
  double seconds = steady_seconds() - start;
  auto logits = found.logits.as<float>();
  for (float value : logits)
    if (!std::isfinite(value)) fail("the check before training: the logits of the first batch are not finite");
  p_.display.info(fmt::format(
      "check: forward pass of {} x {} tokens in {:.3f} s, logits {} {} (computed in {}), first row [{:.4f}]",
      shape.sequences, shape.length, seconds, dtype_name(found.logits.dtype()), to_string(found.logits.shape()),
      dtype_name(p_.engine.options().model.compute_dtype),
      fmt::join(logits.first(static_cast<size_t>(p_.engine.options().task->num_outputs())), ", ")));
}

void TrainingLoop::send(int64_t step, StepBatches batches) {
  const Recipe::Train& train = p_.recipe.train;
  double rate = scheduled_learning_rate(std::string(choice_name(train.schedule)), train.learning_rate, step,
                                        warmup_steps(p_.recipe, p_.total_steps), p_.total_steps);
  int64_t tokens = 0, real_tokens = 0;
  double flops = 0;
  std::vector<int64_t> rows;
  for (const Batch& batch : batches.micro) {
    tokens += batch.num_tokens;
    real_tokens += batch.num_real_tokens;
    if (peak_flops_ > 0) flops += work_.flops(batch, step);
    rows.insert(rows.end(), batch.row_indices.begin(), batch.row_indices.end());
  }
  const ScopedSpan span(p_.trace.spans(), "send");
  PendingStats stats =
      p_.engine.train_step(batches.micro, step, rate, batches.weight, static_cast<uint64_t>(train.seed));
  sent_.push_back(
      {step, rate, std::move(stats), batches.num_rows, batches.weight, tokens, real_tokens, std::move(rows), flops});
}

/** Takes the oldest step's result; the device is already at work on the next. */
void TrainingLoop::receive() {
  Sent sent = std::move(sent_.front());
  sent_.pop_front();
  PendingStats::Sums sums = [&] {
    const ScopedSpan span(p_.trace.spans(), "wait for the device");
    return sent.stats.get();
  }();
  double time = steady_seconds();
  state_.elapsed_seconds += time - clock_;
  measure(sent, time - clock_);
  clock_ = time;
  if (!sums.applied && !sums.overflowed && !p_.recipe.train.skip_nonfinite) stop_at_bad_step(sent, sums);
  state_.step = sent.step + 1;
  if (sums.applied)
    take(sent, sums);
  else
    skip(sent, sums);
  if (peak_flops_ == 0 && sent_.empty()) {
    const double before = steady_seconds();
    peak_flops_ = p_.peak_flops(before - began_);
    clock_ += steady_seconds() - before;  // to find out takes no step's time
  }
  p_.refresh();
}

/** `seconds`: that the step took. */
void TrainingLoop::measure(const Sent& sent, double seconds) {
  const bool known = sent.flops > 0;
  mfu_ = known ? sent.flops / seconds / peak_flops_ : std::nan("");
  logged_flops_ += sent.flops;
  logged_seconds_ += known ? seconds : 0;
}

/** One round of the loop; where steps are in flight, what it waits for is an earlier step. */
void TrainingLoop::step(int64_t step, BatchPrefetcher& batches) {
  const ScopedSpan span(p_.trace.spans(), "step", step + 1);
  StepBatches next = [&] {
    const ScopedSpan waiting(p_.trace.spans(), "wait for batches");
    return batches.next();
  }();
  send(step, std::move(next));
  while (sent_.size() >= p_.engine.traits().steps_in_flight) receive();
}

void TrainingLoop::drain() {
  while (!sent_.empty()) receive();
}

void TrainingLoop::take(const Sent& sent, const PendingStats::Sums& sums) {
  double loss = sums.loss / sent.weight;
  warn_of_explosion(sent, loss);
  state_.loss_sum += sums.loss;
  state_.correct_sum += sums.correct;
  state_.rows += sent.rows;
  state_.weight += sent.weight;
  state_.tokens += sent.tokens;
  state_.real_tokens += sent.real_tokens;
  state_.smoothed.add(loss);
  state_.skipped_in_a_row = 0;
  write_train_row(sent, sums, false);
  StepFigures shown = figures(sent, sums);
  p_.display.step(shown);
  if (state_.step % p_.recipe.train.log_every != 0 && state_.step != p_.total_steps) return;
  if (logged_flops_ > 0) shown.mfu = logged_flops_ / logged_seconds_ / peak_flops_;
  p_.display.log(shown);
  logged_flops_ = logged_seconds_ = 0;
}

void TrainingLoop::skip(const Sent& sent, const PendingStats::Sums& sums) {
  ++state_.skipped_steps;
  ++state_.skipped_in_a_row;
  write_train_row(sent, sums, true);
  if (sums.overflowed) return skip_overflow(sent, sums);
  p_.display.warn(fmt::format("{}; the step is left out", what_is_bad(sent, sums)));
  if (state_.skipped_in_a_row >= kMostSkippedInARow)
    fail(
        "{} steps in a row were left out because their loss or gradient was not finite: this run can't go "
        "on. Go back to a checkpoint before them (remove the later ones from {}) with --resume "
        "--allow-changes "
        "and a smaller train.learning_rate or train.max_grad_norm=1",
        state_.skipped_in_a_row, store_.folder().string());
}

void TrainingLoop::skip_overflow(const Sent& sent, const PendingStats::Sums& sums) {
  p_.display.info(
      fmt::format("step {}: gradients leave float16's range; the step is left out, and the loss scale is now {:g}",
                  sent.step + 1, sums.loss_scale));
  if (state_.skipped_in_a_row >= kMostOverflowsInARow)
    fail(
        "{} steps in a row were left out because their gradients left float16's range, whatever the loss scale: this "
        "run "
        "can't go on. Train in float32 (model.compute_dtype), or bfloat16 where the device has it; or with --resume "
        "--allow-changes and a smaller train.learning_rate",
        state_.skipped_in_a_row);
}

void TrainingLoop::stop_at_bad_step(const Sent& sent, const PendingStats::Sums& sums) {
  // The graph has kept the state of the step before (StepOptions), whatever was sent since.
  sent_.clear();
  std::string problem = what_is_bad(sent, sums);
  if (saved_step_ != state_.step) save(Earlier::kStay);
  std::string kept = saved_step_ == state_.step
                         ? fmt::format("the state before it is kept in {}", store_.path(state_.step).string())
                         : "the state before it could not be saved";
  fail(
      "{}; {}, and the checkpoints before it. Look at these rows; or go on with --resume and "
      "train.skip_nonfinite=true (leaves such steps out), or with --resume --allow-changes and a smaller "
      "train.learning_rate or train.max_grad_norm=1; where that does not help, remove the newest checkpoints",
      problem, kept);
}

void TrainingLoop::warn_of_explosion(const Sent& sent, double loss) {
  // The loss of scores has no size that guessing would give it.
  const Task& task = *p_.engine.options().task;
  if (task.reads_scores()) return;
  double usual = state_.smoothed.value(), guessing = std::log(static_cast<double>(task.num_targets()));
  bool quiet = warned_step_ >= 0 && sent.step - warned_step_ < kStepsOfQuiet;
  bool exploded = (loss > kJump * usual && loss > kAtLeast * guessing) || loss > kHopeless * guessing;
  if (sent.step < kFirstWarned || quiet || !exploded) return;
  warned_step_ = sent.step;
  p_.display.warn(
      fmt::format("step {}: the loss explodes: {:.4f} after about {:.4f} (guessing gives {:.4f}), on {}; if it "
                  "stays so, stop and try a smaller train.learning_rate or train.max_grad_norm=1",
                  sent.step + 1, loss, usual, guessing, name_rows(sent)));
}

std::string TrainingLoop::what_is_bad(const Sent& sent, const PendingStats::Sums& sums) const {
  double loss = sums.loss / sent.weight;
  std::string what = std::isfinite(loss) && std::isfinite(sums.gradient_norm)
                         ? fmt::format("the loss is {:.4f}, above train.max_loss", loss)
                         : fmt::format("the loss is {:.4f} and the gradient norm {:.4g}", without_sign(loss),
                                       without_sign(sums.gradient_norm));
  return fmt::format("step {}: {}, on {}", sent.step + 1, what, name_rows(sent));
}

std::string TrainingLoop::name_rows(const Sent& sent) const {
  constexpr size_t kMostNamed = 64;
  std::map<size_t, std::vector<int64_t>> rows;
  for (size_t i = 0; i < std::min(kMostNamed, sent.row_indices.size()); ++i) {
    const auto [file, row] = p_.train.dataset().source(sent.row_indices[i]);
    rows[file].push_back(row);
  }
  const std::vector<TrainFile> files = train_files(p_.recipe, Purpose::kTrain);
  std::vector<std::string> parts;
  for (const auto& [file, numbers] : rows)
    parts.push_back(fmt::format("{} of {}", fmt::join(numbers, ", "),
                                file < files.size() ? files[file].source.path.string() : p_.recipe.data.train.text()));
  return fmt::format("rows {}{}", fmt::join(parts, "; "), sent.row_indices.size() > kMostNamed ? "; …" : "");
}

StepFigures TrainingLoop::figures(const Sent& sent, const PendingStats::Sums& sums) const {
  return {state_.step,
          sums.loss / sent.weight,
          state_.smoothed.value(),
          state_.mean_loss(),
          state_.accuracy(),
          sent.learning_rate,
          sums.gradient_norm,
          state_.elapsed_seconds,
          static_cast<double>(state_.tokens) / state_.elapsed_seconds,
          static_cast<double>(state_.real_tokens) / state_.elapsed_seconds,
          p_.memory(),
          mfu_};
}

void TrainingLoop::write_train_row(const Sent& sent, const PendingStats::Sums& sums, bool skipped) {
  StepFigures f = figures(sent, sums);
  MetricRow row = {{"kind", "train"},
                   {"step", f.step},
                   {"epoch", static_cast<double>(f.step) / static_cast<double>(p_.train.steps_per_epoch())},
                   {"loss", f.loss},
                   {"smoothed_loss", f.smoothed_loss},
                   {"mean_loss", f.mean_loss},
                   {"accuracy", f.accuracy},
                   {"step_accuracy", sums.correct / sent.weight},
                   {"learning_rate", f.learning_rate},
                   {"gradient_norm", f.gradient_norm},
                   {"rows", sent.rows},
                   {"tokens", sent.tokens},
                   {"real_tokens", sent.real_tokens},
                   {"elapsed_seconds", f.elapsed_seconds},
                   {"tokens_per_second", f.tokens_per_second},
                   {"real_tokens_per_second", f.real_tokens_per_second}};
  if (std::isfinite(mfu_)) row.emplace_back("mfu", mfu_);
  if (sums.loss_scale > 0) row.emplace_back("loss_scale", sums.loss_scale);
  if (skipped) row.emplace_back("skipped", int64_t{1});
  log_.write(row);
  p_.display.row(row);
}

int64_t TrainingLoop::end_step() const {
  return std::min(p_.total_steps, p_.until_step.value_or(p_.total_steps));
}

bool TrainingLoop::evaluates_at(int64_t step) const {
  if (p_.valid == nullptr) return false;
  if (step == 0) return p_.recipe.train.eval_at_start;
  int64_t every = p_.recipe.train.eval_every;
  return step == end_step() || step == p_.total_steps || (every > 0 && step % every == 0);
}

bool TrainingLoop::saves_at(int64_t step) const {
  int64_t every = p_.recipe.train.save_every;
  return step > 0 && (step == end_step() || step == p_.total_steps || step % p_.train.steps_per_epoch() == 0 ||
                      (every > 0 && step % every == 0));
}

bool TrainingLoop::stopped_early() const {
  int64_t patience = p_.recipe.train.early_stopping_patience;
  return patience > 0 && state_.evaluations_without_gain >= patience;
}

bool TrainingLoop::milestone() {
  std::optional<BestEvaluation> best = state_.best;
  bool save_now = saves_at(state_.step) && saved_step_ != state_.step;
  if (evaluates_at(state_.step) && state_.evaluated_step != state_.step) {
    if (!evaluate()) return false;
    // A checkpoint of this step from before the evaluation does not know of it.
    save_now = save_now || best != state_.best || stopped_early() || saved_step_ == state_.step;
  }
  if (save_now) save();
  clock_ = steady_seconds();
  return true;
}

bool TrainingLoop::evaluate() {
  const ScopedSpan span(p_.trace.spans(), "evaluate");
  double start = steady_seconds();
  int64_t rows = p_.valid->dataset().num_rows();
  p_.display.event("evaluation", {{"step", state_.step}, {"rows", rows}});
  Judgement found;
  try {
    auto bar = p_.display.evaluation(rows);
    found = judge_dataset(p_.engine, *p_.valid, [&](int64_t done) {
      bar->update(done);
      // Several processes stop between steps, where they can agree.
      if (p_.group.count == 1 && stop_signal() != 0) throw SignalCame{};
    });
  } catch (const SignalCame&) {
    return false;
  }
  double seconds = steady_seconds() - start;
  const Task& task = *p_.engine.options().task;
  const bool scores = task.reads_scores();
  state_.evaluated_step = state_.step;
  double goal = state_.best ? state_.best->log_loss : std::numeric_limits<double>::infinity();
  bool best = found.log_loss < goal;
  // The weights that a run begins with are its best only if they come from somewhere.
  if (state_.step > 0 || p_.recipe.lora.init_adapter) {
    state_.evaluations_without_gain =
        found.log_loss < goal - p_.recipe.train.early_stopping_threshold ? 0 : state_.evaluations_without_gain + 1;
    if (best) state_.best = BestEvaluation{state_.step, found.log_loss, found.accuracy};
  } else {
    best = false;
  }
  p_.display.info(fmt::format(
      "validation at step {}: {} {:.4f}, accuracy {:.4f} on {} rows ({}; always answering "
      "the {}: {:.4f}){}",
      state_.step, scores ? "loss" : "log loss", found.log_loss, found.accuracy, rows, format_duration(seconds),
      scores ? "mean" : "shares", constant_log_loss(task, p_.valid->dataset()), best ? ", the best so far" : ""));
  MetricRow row = {{"kind", "eval"}, {"step", state_.step}, {"log_loss", found.log_loss}, {"accuracy", found.accuracy},
                   {"rows", rows},   {"seconds", seconds},  {"best", int64_t{best}}};
  log_.write(row);
  p_.display.row(row);
  valid_log_loss_ = found.log_loss;
  valid_accuracy_ = found.accuracy;
  try {
    // The report's tables are of judged pairs.
    if (!scores) write_validation_rows(p_.folder.file("validation.jsonl"), state_.step, p_.valid->dataset(), found);
    p_.draw();
  } catch (const Error& error) {
    p_.display.warn(error.what());
  }
  return true;
}

void TrainingLoop::save(Earlier earlier) {
  const ScopedSpan span(p_.trace.spans(), "save a checkpoint");
  restore_folder();
  p_.display.event("saving", {{"step", state_.step}});
  bool written = true;
  TrainedState trained = p_.engine.state();  // of several processes all must take part
  try {
    // Its rows must be on disk before the checkpoint that says they are written.
    log_.sync();
    if (p_.group.is_first()) store_.save(p_.layout, state_, p_.identity, trained);
  } catch (const Error& error) {
    written = false;
    p_.display.warn(
        fmt::format("checkpoint step-{} could not be written: {}; training goes on, and earlier checkpoints "
                    "are as they were",
                    state_.step, error.what()));
  }
  if (saved_said_(written ? "yes" : "no") != "yes") return;
  saved_step_ = state_.step;
  p_.display.event("saved", {{"step", state_.step}, {"path", store_.path(state_.step).string()}});
  try {
    // The weights of now may be what makes the steps bad.
    if (earlier == Earlier::kMayGo && state_.skipped_in_a_row == 0)
      store_.prune(p_.recipe.train.keep_last, state_.best ? std::optional(state_.best->step) : std::nullopt);
    p_.record.write("running", state_);
  } catch (const Error& error) {
    p_.display.warn(error.what());
  }
}

/** What somebody removed is made again, as far as it is known. */
void TrainingLoop::restore_folder() {
  if (p_.folder.is_there()) return;
  try {
    p_.folder.restore();
    write_file(p_.folder.file("recipe.yaml"), to_yaml(p_.recipe));
    saved_step_.reset();
    p_.display.warn(
        fmt::format("{} was removed while the run went on; it is made anew, and earlier checkpoints and "
                    "lines of metrics.jsonl are gone",
                    p_.folder.path().string()));
  } catch (const Error& error) {
    p_.display.warn(fmt::format("{} was removed while the run went on, and can't be made anew: {}",
                                p_.folder.path().string(), error.what()));
  }
}

int TrainingLoop::stop_signal() {
  signal_ = std::stoi(signal_said_(std::to_string(p_.signals.received())));
  return signal_;
}

TrainingEnd TrainingLoop::interrupted() {
  drain();
  p_.trace.finish();
  p_.display.end();
  if (saved_step_ != state_.step) save();
  return TrainingEnd::kInterrupted;
}

TrainingEnd TrainingLoop::run() {
  if (state_.step == 0) first_look();
  clock_ = began_ = steady_seconds();
  p_.display.begin(state_.step, p_.total_steps);
  // What was due when an earlier process ended, or before the first step.
  if (!milestone()) return interrupted();
  const int64_t end = std::max(state_.step, end_step());
  BatchPrefetcher batches(p_.train, state_.step, end, 2, p_.trace.spans());
  int64_t next = state_.step;
  peak_flops_ = p_.peak_flops(0);
  clock_ = steady_seconds();
  while (next < end && !stopped_early()) {
    if (stop_signal() != 0) return interrupted();
    p_.trace.before(next + 1);
    step(next++, batches);
    if (evaluates_at(next) || saves_at(next)) {
      drain();
      if (!milestone()) return interrupted();
    }
    p_.trace.after(state_.step);
  }
  p_.trace.finish();
  p_.display.end();
  if (state_.step >= p_.total_steps) return TrainingEnd::kFinished;
  return stopped_early() ? TrainingEnd::kStoppedEarly : TrainingEnd::kPaused;
}

}  // namespace gavel
