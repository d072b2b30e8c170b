#include "train/trainer.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "report/loss_plot.h"
#include "report/table.h"
#include "train/resume.h"
#include "train/run_about.h"
#include "train/run_data.h"
#include "train/run_report.h"
#include "train/session.h"
#include "train/training_loop.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/** As one word of a shell. */
std::string quoted(const fs::path& path) {
  std::string text = path.string(), safe;
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%") ==
      std::string::npos)
    return text;
  for (char c : text) safe += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + safe + "'";
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
  plot.subtitle = fmt::format("{}, {}", recipe.model.path, recipe.data.train);
  if (valid != nullptr) plot.reference = {constant_log_loss(valid->dataset()), "label shares"};
  write_loss_svg(folder.file("loss.svg"), plot);
}

/** What a run leaves when it is over, written where it can be: in its folder, or else where it is not lost.
 */
class Results {
 public:
  Results(const CheckpointLayout& layout, const Tokenizer& tokenizer, std::vector<HostTensor> weights)
      : layout_(layout), tokenizer_(tokenizer), weights_(std::move(weights)) {}

  void write(RunFolder& folder) const {
    try {
      if (!folder.is_there()) folder.restore();
      write_to(folder.path());
    } catch (const Error& error) {
      fs::path refuge = fs::temp_directory_path() /
                        fmt::format("gavel-{}-{}", folder.path().filename().string(), ::getpid());
      make_folder(refuge);
      write_to(refuge);
      fail("{}; the trained adapter is in {} instead: copy it from there", error.what(), refuge.string());
    }
  }

 private:
  void write_to(const fs::path& folder) const {
    save_adapter(folder, layout_.spec, layout_.adapter, weights_);
    tokenizer_.save(folder);
    write_file(folder / "recipe.yaml", layout_.recipe);
  }

  const CheckpointLayout& layout_;
  const Tokenizer& tokenizer_;
  std::vector<HostTensor> weights_;
};

/** The weights that the run ends with. */
std::vector<HostTensor> final_weights(const Recipe& recipe, const RunFolder& folder,
                                      const CheckpointLayout& layout, const RunState& state,
                                      std::vector<HostTensor> last) {
  if (!recipe.train.load_best_at_end || !state.best || state.best->step == state.step) return last;
  CheckpointStore store(folder.checkpoints());
  try {
    auto weights = store.load(open_checkpoint(store.path(state.best->step)), layout).weights;
    spdlog::info("the weights are those of step {}, whose log loss of {:.4f} was the best", state.best->step,
                 state.best->log_loss);
    return weights;
  } catch (const Error& error) {
    spdlog::warn("the best checkpoint can't be loaded, so the weights are those of the last step: {}",
                 error.what());
    return last;
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
  for (const SourceFile& file : identity.files) text += fmt::format("{} {} {:016x}\n", file.key, file.digest.bytes, file.digest.crc64);
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
    fail("process {} can't go on from the checkpoint of process 0: {}; output must be a folder that all hosts see", group.index,
         error.what());
  }
}

}  // namespace

TrainingResult run_training(const Recipe& recipe, const RunOptions& run_options) {
  StopSignals signals;
  std::shared_ptr<pjrt::Client> client;
  const ProcessGroup group = run_options.group ? *run_options.group : meet(recipe, client);
  if (!group.is_first()) spdlog::set_level(spdlog::level::err);
  OwnFolder own(recipe, group);
  bool json = run_options.json && group.is_first();
  TrainingDisplay display(json ? TrainingDisplay::Mode::kJson : TrainingDisplay::Mode::kText);
  auto warn = [&](const std::string& text) { display.warn(text); };
  bool resume = recipe.train.resume == Recipe::Resume::kAuto;
  RunFolder folder(own.path(), resume ? RunFolder::Existing::kResume : RunFolder::Existing::kRefuse);
  CheckpointStore store(folder.checkpoints());
  store.clean();
  RunIdentity identity = identify(recipe);
  require_same(group, "run", what_must_be_same(recipe, identity), "the recipe, the model or the data");
  std::optional<SavedRun> saved;
  if (resume && group.is_first()) saved = find_saved_run(folder, identity, run_options.allow_changes, warn);
  if (resume) follow(group, recipe, saved);

  const BaseModel base = open_base_model(recipe);
  const DecoderSpec& spec = base.spec;
  const AttentionSpec& attention = spec.blocks.front().attention;
  const Tokenizer& tokenizer = base.tokenizer;
  spdlog::info("model {}: {} layers, hidden {}, {} heads ({} key-value), vocabulary {}", recipe.model.path,
               spec.num_hidden_layers, spec.hidden_size, attention.num_attention_heads, attention.num_key_value_heads,
               spec.vocab_size);
  if (base.files && !base.files->unused().empty())
    spdlog::warn("{}: {} tensors are not used, such as '{}'", recipe.model.path, base.files->unused().size(),
                 base.files->unused().front());

  RunDataLoader loader(recipe, tokenizer, Purpose::kTrain, group);
  if (!client) client = open_device(recipe);
  const Mesh mesh = mesh_of(recipe, *client);
  StepOptions options = step_options(recipe, spec, *client);
  std::string devices = mesh.devices() == 1 ? "" : fmt::format(", mesh {} (dp x fsdp x mp)", to_string(mesh));
  spdlog::info("device {} ({}){}, weights {}, computing in {}, layers {}", client->platform_name(),
               client->device(0).kind, devices, dtype_name(options.model.dtype),
               dtype_name(options.model.compute_dtype),
               options.model.form == LayerForm::kScan ? "as a scan" : "unrolled");
  print_lines(trainable_table(options.model));
  identity.environment = run_environment(*client);

  Engine engine(client, options, compile_cache_folder());
  double start = now();
  load_weights(engine, recipe, base);
  spdlog::info("weights loaded in {}", format_duration(now() - start));

  RunData data = loader.get();
  print_lines(describe_data(recipe, data));
  if (data.shared_prompts > 0)
    spdlog::warn("{} validation rows have a prompt that training sees too: their figures will look too good",
                 data.shared_prompts);
  Batcher train(data.train.tokens, batch_options(recipe, engine.traits(), mesh));
  std::optional<Batcher> valid;
  if (data.valid) valid.emplace(data.valid->tokens, judging_options(batch_options(recipe, engine.traits(), mesh)));
  PaddingWaste waste = train.waste();
  spdlog::info("batching {}: {} steps of {} rows an epoch, {:.1f} % padding",
               choice_name(recipe.data.batching), train.steps_per_epoch(), train.rows_per_step(),
               100 * waste.wasted());
  int64_t total_steps = recipe.train.max_steps.value_or(recipe.train.epochs * train.steps_per_epoch());
  check_schedule(recipe, total_steps);

  CheckpointLayout layout{
      spec, {options.model.lora, recipe.model.path}, options.model.num_labels, to_yaml(recipe)};
  if (saved) {
    engine.set_state(store.load(*saved, layout));
    for (const std::string& line : environment_changes(saved->identity, identity))
      spdlog::warn("changed since the checkpoint, and may change the last bits of numbers: {}", line);
    spdlog::info("going on from {}: step {} of {}", saved->path.string(), saved->state.step, total_steps);
  } else {
    engine.set_trainable(initial_trainable(recipe, options));
    if (resume) spdlog::info("{} holds no checkpoint: starting at step 0", folder.path().string());
  }

  const Batcher* validation = valid ? &*valid : nullptr;
  rewind_folder(folder, saved);
  write_file(folder.file("recipe.yaml"), layout.recipe);
  RunRecord record(folder.file("run.json"),
                   about_run(recipe, options, *client, train, validation, total_steps));
  RunState begin = saved ? saved->state : RunState{};
  if (saved) record.add_resume(begin.step);
  record.write("running", begin);
  // Without a store the processes can't agree on the step to stop at.
  if (group.count == 1 || group.store) signals.defer();
  ReportWriter report(folder.path(), warn);
  auto draw = [&] {
    report.write();
    draw_loss(folder, recipe, validation);
  };
  TrainingLoop loop({recipe, folder, engine, train, validation, layout, identity, signals, display, record,
                     [&] { return memory_in_use(*client); }, draw, [&] { report.refresh(); }, total_steps, group,
                     saved ? std::optional(saved->state.step) : std::nullopt},
                    begin);
  auto note = [&](const std::string& status, const std::string& message) {
    try {
      record.write(status, loop.state(), message);
    } catch (const Error& error) {
      display.warn(error.what());
    }
    report.write();
  };
  TrainingEnd end{};
  try {
    end = loop.run();
  } catch (const std::exception& error) {
    note("failed", error.what());
    throw;
  }

  const RunState& state = loop.state();
  TrainingResult result;
  result.steps = state.step;
  result.seconds = state.elapsed_seconds;
  result.final_loss = state.loss_sum / static_cast<double>(std::max<int64_t>(1, state.rows));
  result.valid_log_loss = loop.valid_log_loss();
  result.valid_accuracy = loop.valid_accuracy();
  if (end == TrainingEnd::kInterrupted) {
    result.signal = loop.signal();
    note("interrupted", signal_name(result.signal));
    std::string from = loop.saved_step() ? fmt::format("step {}", *loop.saved_step()) : "the start";
    spdlog::warn("{} after step {} of {}; go on from {} with:\n  gavel train {} --resume",
                 signal_name(result.signal), state.step, total_steps, from,
                 quoted(folder.file("recipe.yaml")));
    return result;
  }
  result.stopped_early = end == TrainingEnd::kStoppedEarly;
  if (result.stopped_early)
    spdlog::info(
        "stopped early after step {} of {}: {} evaluations in a row were no better than {:.4f} at step {}",
        state.step, total_steps, state.evaluations_without_gain, state.best->log_loss, state.best->step);
  std::vector<HostTensor> last = engine.trainable();
  if (!group.is_first()) return result;
  Results(layout, tokenizer, final_weights(recipe, folder, layout, state, std::move(last))).write(folder);
  note(result.stopped_early ? "stopped" : "finished", "");
  try {
    draw_loss(folder, recipe, validation);
  } catch (const Error& error) {
    display.warn(error.what());
  }
  spdlog::info(
      "saved {}: adapter, tokenizer, recipe.yaml, run.json, metrics.jsonl, loss.svg, report.html, "
      "checkpoints",
      folder.path().string());
  display.event(result.stopped_early ? "stopped" : "finished",
                {{"step", state.step}, {"path", folder.path().string()}});
  return result;
}

}  // namespace gavel
