#include "train/run_training.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/command_line.h"
#include "base/file.h"
#include "base/log.h"
#include "judge/evaluate.h"
#include "kernels/kernel_profile.h"
#include "plan/peaks.h"
#include "report/loss_plot.h"
#include "report/table.h"
#include "setup/check_inputs.h"
#include "setup/choose_layers.h"
#include "setup/initial_head.h"
#include "setup/open_device.h"
#include "setup/open_model.h"
#include "setup/run_data.h"
#include "setup/run_options.h"
#include "train/resume.h"
#include "train/run_about.h"
#include "train/run_report.h"
#include "train/training_loop.h"
#include "train/validation_rows.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The command that goes on with a run. */
std::string resume_command(const RunFolder& folder) {
  return fmt::format("{} train {} --resume", called_as(), shell_word(folder.file("recipe.yaml").string()));
}

/** Prints a text of several lines through the logger. */
void print_lines(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  spdlog::info("{}", text);
}

/** loss.svg from metrics.jsonl. */
void draw_loss(const RunFolder& folder, const Recipe& recipe, const Batcher* valid) {
  LossPlot plot;
  for (const MetricRow& row : read_metrics(folder.file("metrics.jsonl"))) {
    bool evaluation = row[0] == std::pair<std::string, MetricValue>("kind", "eval");
    auto& points = evaluation ? plot.valid : plot.train;
    points.push_back({metric(row, "step"), metric(row, evaluation ? "log_loss" : "loss")});
  }
  plot.title = "Loss of " + folder.path().filename().string();
  plot.subtitle = fmt::format("{}, {}", recipe.model.path, recipe.data.train.text());
  if (valid != nullptr) plot.reference = {constant_log_loss(*task_of(recipe), valid->dataset()), "label shares"};
  write_loss_svg(folder.file("loss.svg"), plot);
}

/** What a run leaves when it is over, written where it can be: in its folder, or else where it is not lost. */
class Results {
 public:
  Results(const CheckpointLayout& layout, const Tokenizer& tokenizer, const std::vector<HostTensor>& weights)
      : layout_(layout), tokenizer_(tokenizer), weights_(weights) {}

  /** Where the folder can't be written to, the adapter goes into a folder of its own among the temporary ones, and Error says
   * which. Where that can't be either, both are tried again until one can, for an hour or until a signal comes. */
  void write(RunFolder& folder, const StopSignals& signals, const std::function<void(const std::string&)>& warn) const {
    constexpr double kPatience = 3600, kLongestWait = 60;
    const double start = steady_seconds();
    for (double wait = 1;; wait = std::min(2 * wait, kLongestWait)) {
      std::string why;
      try {
        if (!folder.is_there()) folder.restore();
        return write_to(folder.path());
      } catch (const Error& error) {
        why = error.what();
      }
      fs::path refuge;
      bool in_refuge = false;
      try {
        refuge = make_refuge(folder.path().filename().string());
        write_to(refuge);
        in_refuge = true;
      } catch (const Error& error) {
        std::error_code ignored;
        if (!refuge.empty()) fs::remove_all(refuge, ignored);
        why += fmt::format("; nor can the trained adapter go elsewhere ({})", error.what());
      }
      if (in_refuge) fail("{}; the trained adapter is in {} instead: copy it from there", why, refuge.string());
      if (steady_seconds() - start > kPatience)
        fail("{}; given up after an hour: what the checkpoints hold is whole, the rest is lost", why);
      warn(fmt::format("{}: make room, or put the folder back; trying again in {:.0f} s", why, wait));
      for (const double until = steady_seconds() + wait; steady_seconds() < until;) {
        if (signals.received() != 0)
          fail("{}; not tried again, for {} came: what the checkpoints hold is whole, the rest is lost", why,
               signal_name(signals.received()));
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  }

 private:
  /** A new folder for this user alone, whose name nobody could know before. */
  static fs::path make_refuge(const std::string& run) {
    std::error_code none;
    const fs::path temporary = fs::temp_directory_path(none);
    if (none) fail("TMPDIR is no folder");
    std::string name = (temporary / fmt::format("gavel-{}-XXXXXX", run)).string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: the folder can't be made: {}", name, std::strerror(errno));
    return name;
  }

  void write_to(const fs::path& folder) const {
    save_adapter(folder, layout_.spec, layout_.adapter, adapter_weights(layout_, weights_));
    tokenizer_.save(folder);
    write_file(folder / "recipe.yaml", layout_.recipe);
  }

  const CheckpointLayout& layout_;
  const Tokenizer& tokenizer_;
  const std::vector<HostTensor>& weights_;
};

/** The weights that the run ends with, and the step that they are of. */
struct KeptWeights {
  std::vector<HostTensor> weights;
  int64_t step;
};
KeptWeights final_weights(const Recipe& recipe, const RunFolder& folder, const CheckpointLayout& layout,
                          const RunState& state, std::vector<HostTensor> last) {
  if (!recipe.train.load_best_at_end || !state.best || state.best->step == state.step)
    return {std::move(last), state.step};
  CheckpointStore store(folder.checkpoints());
  try {
    auto weights = store.load(open_checkpoint(store.path(state.best->step)), layout).weights;
    spdlog::info("the weights are those of step {}, whose log loss of {:.4f} was the best", state.best->step,
                 state.best->log_loss);
    return {std::move(weights), state.best->step};
  } catch (const Error& error) {
    spdlog::warn("the best checkpoint can't be loaded, so the weights are those of the last step: {}", error.what());
    return {std::move(last), state.step};
  }
}

/** Where a process writes: the run's folder, or, for all but the first of several, one that goes when it is over. */
class OwnFolder {
 public:
  OwnFolder(const Recipe& recipe, const ProcessGroup& group) : path_(recipe.output), scratch_(!group.is_first()) {
    if (!scratch_) return;
    std::string name = (fs::temp_directory_path() / "gavel-process-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: the folder can't be made", name);
    path_ = name;
  }
  ~OwnFolder() {
    std::error_code ignored;
    if (scratch_) fs::remove_all(path_, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  bool scratch_;
};

/** The processes of the run. Where a launcher or the device joins several, the device is opened too. */
ProcessGroup meet(const Recipe& recipe, std::shared_ptr<pjrt::Client>& client) {
  ProcessGroup group = join_process_group();
  if (group.count == 1 && recipe.device != "tpu") return group;
  client = open_device(recipe, group);
  return processes_of(group, *client);
}

std::string what_must_be_same(const Recipe& recipe, const RunIdentity& identity) {
  std::string text = to_yaml(recipe);
  for (const SourceFile& file : identity.files)
    text += fmt::format("{} {} {:016x}\n", file.key, file.digest.bytes, file.digest.crc64);
  return text;
}

/** All processes go on from the checkpoint that the first has found. */
void follow(const ProcessGroup& group, const Recipe& recipe, std::optional<SavedRun>& saved) {
  std::string path = Announcement(group, "checkpoint")(saved ? fs::absolute(saved->path).string() : "");
  if (group.is_first()) return;
  try {
    if (!group.store)
      saved = CheckpointStore(fs::path(recipe.output) / "checkpoints").newest([](const std::string&) {});
    else if (!path.empty())
      saved = open_checkpoint(path);
  } catch (const Error& error) {
    fail("process {} can't go on from the checkpoint of process 0: {}; output must be a folder that all hosts see",
         group.index, error.what());
  }
}

/** One run, from its recipe to its results: run() is the order of the steps, each of which works with what the ones before
 * it have made. */
class TrainingRun {
 public:
  TrainingRun(const Recipe& recipe, const RunOptions& options, std::shared_ptr<pjrt::Client> client,
              const ProcessGroup& group, StopSignals& signals)
      : recipe_(with_adapter_settings(recipe)),
        allow_changes_(options.allow_changes),
        until_step_(options.until_step),
        resumes_(recipe.train.resume == Recipe::Resume::kAuto),
        client_(std::move(client)),
        group_(group),
        signals_(signals),
        own_(recipe_, group),
        display_(options.json && group.is_first() ? TrainingDisplay::Mode::kJson : TrainingDisplay::Mode::kText),
        folder_(own_.path(), resumes_ ? RunFolder::Existing::kResume : RunFolder::Existing::kRefuse),
        store_(folder_.checkpoints()) {}

  TrainingResult run() {
    find_checkpoint();
    open_model();
    RunDataLoader loader(recipe_, base_->tokenizer, Purpose::kTrain, group_);
    // The data are read meanwhile, but the programs of an auxiliary head have to know its classes.
    std::optional<RunData> data;
    if (!recipe_.data.columns.auxiliary.empty()) data = loader.get();
    make_engine(data ? data->train.tokens.num_auxiliary_classes() : 0);
    make_batches(data ? *std::move(data) : loader.get());
    set_start();
    return finish(train());
  }

 private:
  /** What the run is, and where an earlier part of it ended. */
  void find_checkpoint() {
    store_.clean();
    identity_ = identify(recipe_);
    require_same(group_, "run", what_must_be_same(recipe_, identity_), "the recipe, the model or the data");
    auto warn = [&](const std::string& text) { display_.warn(text); };
    if (resumes_ && group_.is_first()) saved_ = find_saved_run(folder_, identity_, allow_changes_, warn);
    if (resumes_) follow(group_, recipe_, saved_);
  }

  void open_model() {
    base_ = open_base_model(recipe_);
    const DecoderSpec& spec = base_->spec;
    const AttentionSpec& attention = spec.blocks.front().attention;
    spdlog::info("model {}: {} layers, hidden {}, {} heads ({} key-value), vocabulary {}", recipe_.model.path,
                 spec.num_hidden_layers, spec.hidden_size, attention.num_attention_heads, attention.num_key_value_heads,
                 spec.vocab_size);
    if (base_->files)
      for (const auto& notes : {base_->files->notes(), base_->files->notes_on(recipe_.model.storage())})
        for (const std::string& note : notes) spdlog::warn("{}: {}", recipe_.model.path, note);
  }

  /** The model on its devices. */
  void make_engine(int64_t auxiliary_classes) {
    if (!client_) client_ = open_device(recipe_);
    mesh_ = mesh_of(recipe_, base_->spec, *client_).mesh;
    const int64_t auxiliary = auxiliary_outputs_of(*task_of(recipe_), auxiliary_classes);
    const ChosenLayers chosen = choose_layers(recipe_, base_->spec, client_, auxiliary);
    if (!chosen.note.empty()) spdlog::info("{}", chosen.note);
    settled_ = chosen.recipe;
    StepOptions options = step_options(*settled_, base_->spec, *client_);
    options.model.auxiliary_outputs = auxiliary;
    std::string devices = mesh_.devices() == 1 ? "" : fmt::format(", mesh {} (dp x fsdp x mp)", to_string(mesh_));
    spdlog::info("device {} ({}){}, weights {}, computing in {}, layers {}", client_->platform_name(),
                 client_->device(0).kind, devices, options.model.storage().describe(),
                 dtype_name(options.model.compute_dtype),
                 options.model.form == LayerForm::kScan ? "as a scan" : "unrolled");
    print_lines(trainable_table(options.model));
    identity_.environment = run_environment(*client_);
    layout_ = {base_->spec,
               {options.model.lora, recipe_.model.path, options.model.learns_tie},
               options.model.num_labels,
               options.model.auxiliary_outputs,
               to_yaml(recipe_)};
    engine_ = std::make_unique<Engine>(client_, options, compile_cache_folder());
    const double start = steady_seconds();
    load_weights(*engine_, recipe_, *base_);
    spdlog::info("weights loaded in {}", format_duration(steady_seconds() - start));
  }

  void make_batches(const RunData& data) {
    print_lines(describe_data(recipe_, data));
    if (data.shared_prompts > 0)
      spdlog::warn("{} validation rows have a prompt that training sees too: their figures will look too good",
                   data.shared_prompts);
    const BatchOptions options = batch_options(*settled_, engine_->traits(), mesh_, &base_->spec);
    train_.emplace(data.train.tokens, options);
    if (data.valid) valid_.emplace(data.valid->tokens, judging_options(options));
    spdlog::info("batching {}: {} steps of {} rows an epoch, {:.1f} % padding", choice_name(recipe_.data.batching),
                 train_->steps_per_epoch(), train_->rows_per_step(), 100 * train_->waste().wasted());
    if (double shared = train_->shared(); shared > 0)
      spdlog::info("prompts: both texts of a row hold them once, which saves {:.1f} % of the tokens", 100 * shared);
    warn_of_long_rows();
    total_steps_ = recipe_.train.max_steps.value_or(recipe_.train.epochs * train_->steps_per_epoch());
    if (const std::string note = warmup_note(recipe_, total_steps_); !note.empty()) display_.warn(note);
  }

  /** Positions that the model never saw give no error, but nothing to rely on either. */
  void warn_of_long_rows() const {
    if (!base_->files) return;
    const int64_t most = base_->files->config().max_position_embeddings;
    const std::vector<int64_t> lengths = train_->dataset().lengths();
    if (auto longer = std::ranges::count_if(lengths, [&](int64_t length) { return length > most; }); longer > 0)
      spdlog::warn(
          "{} of {} rows have more tokens than the {} positions that {} was made for (max_position_embeddings): set "
          "data.max_length={}",
          longer, lengths.size(), most, recipe_.model.path, most);
  }

  /** What training begins with: a checkpoint's tensors, or fresh ones. */
  void set_start() {
    if (saved_) {
      // With other settings the numbers are of another run, in which they were right.
      if (!allow_changes_) check_state(saved_->state, recipe_, total_steps_, (saved_->path / "state.json").string());
      engine_->set_state(store_.load(*saved_, layout_));
      for (const std::string& line : environment_changes(saved_->identity, identity_))
        spdlog::warn("changed since the checkpoint, and may change the last bits of numbers: {}", line);
      spdlog::info("going on from {}: step {} of {}", saved_->path.string(), saved_->state.step, total_steps_);
    } else {
      std::vector<HostTensor> start = initial_trainable(recipe_, engine_->options(), *base_);
      if (auto tie = trainable_layout(engine_->options().model).tie; tie && !recipe_.lora.init_adapter)
        start[*tie].as_mutable<float>()[0] = static_cast<float>(tie_logit_of(train_->dataset()));
      engine_->set_trainable(start);
      if (resumes_) spdlog::info("{} holds no checkpoint: starting at step 0", folder_.path().string());
    }
  }

  /** All steps, with the run's files kept up to date. */
  TrainingEnd train() {
    rewind_folder(folder_, saved_);
    write_file(folder_.file("recipe.yaml"), layout_.recipe);
    nlohmann::ordered_json about =
        about_run(recipe_, engine_->options(), *client_, *train_, validation(), total_steps_);
    if (recipe_.model.head == Recipe::Head::kLabels)
      for (const AnswerToken& answer : answer_tokens(recipe_, base_->tokenizer))
        about["model"]["head_tokens"][answer.answer] = {{"id", answer.id}, {"token", answer.token}};
    record_.emplace(folder_.file("run.json"), about);
    const RunState begin = saved_ ? saved_->state : RunState{};
    if (saved_) record_->add_resume(begin.step);
    record_->write("running", begin);
    // Without a store the processes can't agree on the step to stop at.
    if (group_.count == 1 || group_.store) signals_.defer();
    signals_.advise([command = resume_command(folder_)] {
      return fmt::format("what was saved before is whole; go on with:\n  {}", command);
    });
    report_.emplace(folder_.path(), [&](const std::string& text) { display_.warn(text); });
    auto draw = [&] {
      report_->write();
      draw_loss(folder_, recipe_, validation());
    };
    trace_.emplace(RunTrace::Options{.folder = folder_.path(),
                                     .first = recipe_.train.profile.start,
                                     .steps = recipe_.train.profile.steps,
                                     .info = [&](const std::string& text) { display_.info(text); },
                                     .warn = [&](const std::string& text) { display_.warn(text); }},
                   client_);
    const TrainingParts parts{recipe_,
                              folder_,
                              *engine_,
                              *train_,
                              validation(),
                              layout_,
                              identity_,
                              signals_,
                              display_,
                              *record_,
                              *trace_,
                              [&] { return memory_in_use(*client_); },
                              draw,
                              [&](double seconds) { return peak_flops(seconds); },
                              [&] { report_->refresh(); },
                              total_steps_,
                              group_,
                              saved_ ? std::optional(saved_->state.step) : std::nullopt,
                              until_step_};
    loop_.emplace(parts, begin);
    try {
      return loop_->run();
    } catch (const std::exception& error) {
      note("failed", error.what());
      throw;
    }
  }

  /** Of all devices, see TrainingParts. The CPU's is what oneDNN's products reach, measured once a run has gone on for so
   * long that this is no time. */
  double peak_flops(double seconds) const {
    constexpr double kLong = 10, kMeasuring = 0.2;
    const DType type = engine_->options().model.compute_dtype;
    if (!engine_->traits().is_host)
      return static_cast<double>(mesh_.devices()) * device_peak_flops(client_->device(0).kind, type);
    return seconds < kLong ? 0 : measure_product_limit(type, kMeasuring);
  }

  /** Writes what the run leaves. */
  TrainingResult finish(TrainingEnd end) {
    const RunState& state = loop_->state();
    TrainingResult result;
    result.steps = state.step;
    result.seconds = state.elapsed_seconds;
    result.final_loss = state.mean_loss();
    result.valid_log_loss = loop_->valid_log_loss();
    result.valid_accuracy = loop_->valid_accuracy();
    if (end == TrainingEnd::kInterrupted) {
      result.signal = loop_->signal();
      tell_how_to_go_on(result.signal);
      return result;
    }
    if (end == TrainingEnd::kPaused) {
      result.paused = true;
      note("paused", "");
      spdlog::info("stopped after step {} of {}, as asked; go on with:\n  {}", state.step, total_steps_,
                   resume_command(folder_));
      tell_result(fmt::format("stopped after step {} of {}, as asked", state.step, total_steps_), result);
      display_.event("paused", {{"step", state.step}, {"path", folder_.path().string()}});
      return result;
    }
    result.stopped_early = end == TrainingEnd::kStoppedEarly;
    if (result.stopped_early)
      spdlog::info("stopped early after step {} of {}: {} evaluations in a row were no better than {:.4f} at step {}",
                   state.step, total_steps_, state.evaluations_without_gain, state.best->log_loss, state.best->step);
    std::vector<HostTensor> last = engine_->trainable();
    if (group_.is_first()) write_results(std::move(last), result);
    return result;
  }

  /** The line that a run is for, on standard output. */
  void tell_result(const std::string& how, const TrainingResult& result) {
    if (!group_.is_first()) return;
    std::string text = fmt::format("{}: {}, mean loss {:.4f}", folder_.path().string(), how, result.final_loss);
    if (!std::isnan(result.valid_log_loss))
      text +=
          fmt::format(", validation log loss {:.4f}, accuracy {:.4f}", result.valid_log_loss, result.valid_accuracy);
    display_.result(text);
  }

  void tell_how_to_go_on(int signal) {
    note("interrupted", signal_name(signal));
    std::string from = loop_->saved_step() ? fmt::format("step {}", *loop_->saved_step()) : "the start";
    spdlog::warn("{} after step {} of {}; go on from {} with:\n  {}", signal_name(signal), loop_->state().step,
                 total_steps_, from, resume_command(folder_));
  }

  void write_results(std::vector<HostTensor> last, TrainingResult result) {
    const bool stopped_early = result.stopped_early;
    const RunState& state = loop_->state();
    const KeptWeights kept = final_weights(recipe_, folder_, layout_, state, std::move(last));
    Results(layout_, base_->tokenizer, kept.weights).write(folder_, signals_, [&](const std::string& text) {
      display_.warn(text);
    });
    if (kept.step != state.step) validate_kept(kept);
    note(stopped_early ? "stopped" : "finished", "");
    try {
      draw_loss(folder_, recipe_, validation());
    } catch (const Error& error) {
      display_.warn(error.what());
    }
    spdlog::info(
        "saved {}: adapter, tokenizer, recipe.yaml, run.json, metrics.jsonl, loss.svg, report.html, checkpoints",
        folder_.path().string());
    display_.event(stopped_early ? "stopped" : "finished", {{"step", state.step}, {"path", folder_.path().string()}});
    warn_if_worse_than_shares();
    if (kept.step != state.step) {
      result.valid_log_loss = state.best->log_loss;
      result.valid_accuracy = state.best->accuracy;
    }
    const std::string steps = fmt::format("{} step{}", format_count(state.step), state.step == 1 ? "" : "s");
    tell_result(stopped_early             ? fmt::format("stopped early after {}", steps)
                : kept.step != state.step ? fmt::format("{}, weights of step {}", steps, kept.step)
                                          : steps,
                result);
  }

  /** A run that loses against one number for each outcome has learnt nothing that holds on other rows. */
  void warn_if_worse_than_shares() {
    if (!valid_) return;
    const RunState& state = loop_->state();
    const double found = recipe_.train.load_best_at_end && state.best ? state.best->log_loss : loop_->valid_log_loss();
    const double shares = constant_log_loss(*task_of(recipe_), valid_->dataset());
    if (!(found > shares)) return;
    const bool judges = !recipe_.reads_single_answers();
    std::string try_this = "more rows or epochs, another train.learning_rate";
    if (!recipe_.train.load_best_at_end) try_this += ", train.load_best_at_end";
    if (judges && recipe_.data.swap == Swap::kNone) try_this += ", data.swap: random";
    if (judges) try_this += ", task: reward (needs fewer pairs)";
    display_.warn(
        fmt::format("on the validation rows this run's log loss of {:.4f} is worse than always answering their label "
                    "shares, {:.4f}; try {}",
                    found, shares, try_this));
  }

  /** validation.jsonl is to say what the judge says that the run leaves, not that of its last step. Several processes would
   * all have to take part. */
  void validate_kept(const KeptWeights& kept) {
    if (!valid_ || group_.count > 1) return;
    engine_->set_trainable(kept.weights);
    try {
      const Judgement found = judge_dataset(*engine_, *valid_);
      write_validation_rows(folder_.file("validation.jsonl"), kept.step, valid_->dataset(), found);
    } catch (const Error& error) {
      display_.warn(error.what());
    }
  }

  /** Brings run.json and the report to the run's state; what goes wrong with them does not end it. */
  void note(const std::string& status, const std::string& message) {
    try {
      record_->write(status, loop_->state(), message);
    } catch (const Error& error) {
      display_.warn(error.what());
    }
    report_->write();
  }

  const Batcher* validation() const { return valid_ ? &*valid_ : nullptr; }

  const Recipe recipe_;
  const bool allow_changes_;
  const std::optional<int64_t> until_step_;
  const bool resumes_;
  std::shared_ptr<pjrt::Client> client_;
  const ProcessGroup group_;
  StopSignals& signals_;
  OwnFolder own_;
  TrainingDisplay display_;
  RunFolder folder_;
  CheckpointStore store_;
  RunIdentity identity_;
  std::optional<SavedRun> saved_;
  std::optional<BaseModel> base_;
  std::optional<Recipe> settled_;  // what of recipe_ the devices decided is settled in it
  Mesh mesh_;
  CheckpointLayout layout_;
  std::unique_ptr<Engine> engine_;
  std::optional<Batcher> train_, valid_;
  int64_t total_steps_ = 0;
  std::optional<RunRecord> record_;
  std::optional<ReportWriter> report_;
  std::optional<RunTrace> trace_;
  std::optional<TrainingLoop> loop_;
};

}  // namespace

TrainingResult run_training(const Recipe& recipe, const RunOptions& options) {
  // Before any thread, which then has these signals blocked.
  StopSignals signals;
  signals.advise([] {
    std::string command;
    for (const std::string& argument : own_arguments()) command += " " + shell_word(argument);
    return fmt::format("no step was done; begin again with:\n {}", command);
  });
  check_inputs(recipe);
  std::shared_ptr<pjrt::Client> client;
  const ProcessGroup group = options.group ? *options.group : meet(recipe, client);
  if (!group.is_first()) spdlog::set_level(spdlog::level::err);
  return TrainingRun(recipe, options, std::move(client), group, signals).run();
}

}  // namespace gavel
