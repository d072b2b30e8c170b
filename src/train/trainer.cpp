#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <deque>

#include "base/file.h"
#include "base/log.h"
#include "data/prefetch.h"
#include "model/adapter.h"
#include "report/loss_plot.h"
#include "report/metrics.h"
#include "report/progress.h"
#include "report/table.h"
#include "train/engine.h"
#include "train/evaluate.h"
#include "train/run_data.h"
#include "train/run_folder.h"
#include "train/session.h"

namespace gavel {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/** Prints a text of several lines through the logger. */
void print_lines(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  spdlog::info("{}", text);
}

std::string trainable_table(const StepOptions& options) {
  const ModelOptions& model = options.model;
  auto specs = trainable_parameters(model.config, model.lora, model.num_labels);
  std::vector<std::vector<std::string>> rows;
  int64_t trained = 0, frozen = 0;
  for (const TrainableParameter& spec : specs) {
    int64_t count = num_elements(spec.shape), layers = spec.stacked ? spec.shape[0] : 1;
    Shape one = spec.stacked ? Shape(spec.shape.begin() + 1, spec.shape.end()) : spec.shape;
    trained += count;
    rows.push_back({spec.name, to_string(one), format_count(count / layers), format_count(layers), format_count(count)});
  }
  for (const FrozenParameter& parameter : frozen_parameters(model)) frozen += num_elements(parameter.shape);
  std::string table = format_table({"trainable", "shape", "each", "layers", "all"}, rows,
                                   {Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  return table + fmt::format("trainable parameters: {} of {} ({:.4f} %)", format_count(trained),
                             format_count(trained + frozen),
                             100 * static_cast<double>(trained) / static_cast<double>(trained + frozen));
}

/** One run, from the datasets on. */
class Trainer {
 public:
  Trainer(const Recipe& recipe, const RunFolder& folder, Engine& engine, const Batcher& train,
          const Batcher* valid, int64_t total_steps)
      : recipe_(recipe),
        engine_(engine),
        train_(train),
        valid_(valid),
        total_steps_(total_steps),
        metrics_(folder.file("metrics.jsonl")) {}

  TrainingResult run();
  const LossPlot& plot() const { return plot_; }

 private:
  struct Sent {
    int64_t step;
    double learning_rate;
    PendingStats stats;
    int64_t rows, tokens, real_tokens;
  };
  void first_look();
  void evaluate(int64_t step);
  void send(int64_t step, StepBatches batches);
  void receive();
  void log_line(int64_t step);

  const Recipe& recipe_;
  Engine& engine_;
  const Batcher& train_;
  const Batcher* valid_;
  int64_t total_steps_;
  MetricsWriter metrics_;
  LossPlot plot_;
  TrainingResult result_;
  Progress* progress_ = nullptr;
  std::deque<Sent> sent_;
  double began_ = 0, paused_ = 0;
  double loss_sum_ = 0, correct_sum_ = 0, step_loss_ = 0, learning_rate_ = 0, gradient_norm_ = 0;
  int64_t rows_ = 0, tokens_ = 0, real_tokens_ = 0;
};

/** A forward pass before training, on a batch that training does not lose. */
void Trainer::first_look() {
  StepBatches first = train_.step(0);
  engine_.evaluate(first.micro[0]);  // compiles
  double start = now();
  Evaluation found = engine_.evaluate(first.micro[0]);
  double seconds = now() - start;
  auto logits = found.logits.as<float>();
  for (float value : logits)
    if (!std::isfinite(value)) fail("the check before training: the logits of the first batch are not finite");
  BatchShape shape = shape_of(first.micro[0]);
  spdlog::info("check: forward pass of {} x {} tokens in {:.3f} s, logits {} {} (computed in {}), first row [{:.4f}, {:.4f}, {:.4f}]",
               shape.sequences, shape.length, seconds, dtype_name(found.logits.dtype()), to_string(found.logits.shape()),
                dtype_name(engine_.options().model.compute_dtype),
               logits[0], logits[1], logits[2]);
}

void Trainer::evaluate(int64_t step) {
  if (valid_ == nullptr) return;
  double start = now();
  int64_t rows = valid_->dataset().num_rows();
  Judgement found;
  {
    Progress bar(rows, "evaluate", "row");
    found = judge_dataset(engine_, *valid_, [&](int64_t done) { bar.update(done); });
  }
  double seconds = now() - start;
  paused_ += seconds;
  spdlog::info("validation at step {}: log loss {:.4f}, accuracy {:.4f} on {} rows ({}; always answering the shares: {:.4f})",
               step, found.log_loss, found.accuracy, rows, format_duration(seconds),
               constant_log_loss(valid_->dataset()));
  metrics_.write({{"kind", "eval"},
                  {"step", step},
                  {"log_loss", found.log_loss},
                  {"accuracy", found.accuracy},
                  {"rows", rows}});
  plot_.valid.push_back({static_cast<double>(step), found.log_loss});
  result_.valid_log_loss = found.log_loss;
  result_.valid_accuracy = found.accuracy;
}

void Trainer::send(int64_t step, StepBatches batches) {
  double rate = scheduled_learning_rate(std::string(choice_name(recipe_.train.schedule)), recipe_.train.learning_rate,
                                        step, recipe_.train.warmup_steps, total_steps_);
  int64_t tokens = 0, real_tokens = 0;
  for (const Batch& batch : batches.micro) {
    tokens += batch.num_tokens;
    real_tokens += batch.num_real_tokens;
  }
  PendingStats stats = engine_.train_step(batches.micro, step, rate, static_cast<double>(batches.num_rows),
                                          static_cast<uint64_t>(recipe_.train.seed));
  sent_.push_back({step, rate, std::move(stats), batches.num_rows, tokens, real_tokens});
}

/** Takes the oldest step's result; the device is already at work on the next. */
void Trainer::receive() {
  Sent sent = std::move(sent_.front());
  sent_.pop_front();
  PendingStats::Sums sums = sent.stats.get();
  auto rows = static_cast<double>(sent.rows);
  step_loss_ = sums.loss / rows;
  if (!std::isfinite(step_loss_))
    fail("step {}: the loss is {}; try a smaller train.learning_rate or train.max_grad_norm=1", sent.step + 1, step_loss_);
  learning_rate_ = sent.learning_rate;
  gradient_norm_ = sums.gradient_norm;
  loss_sum_ += sums.loss;
  correct_sum_ += sums.correct;
  rows_ += sent.rows;
  tokens_ += sent.tokens;
  real_tokens_ += sent.real_tokens;
  int64_t done = sent.step + 1;
  double elapsed = now() - began_ - paused_;
  plot_.train.push_back({static_cast<double>(done), step_loss_});
  metrics_.write({{"kind", "train"},
                  {"step", done},
                  {"epoch", static_cast<double>(done) / static_cast<double>(train_.steps_per_epoch())},
                  {"loss", step_loss_},
                  {"mean_loss", loss_sum_ / static_cast<double>(rows_)},
                  {"accuracy", correct_sum_ / static_cast<double>(rows_)},
                  {"step_accuracy", sums.correct / rows},
                  {"learning_rate", learning_rate_},
                  {"gradient_norm", gradient_norm_},
                  {"elapsed_seconds", elapsed},
                  {"tokens_per_second", static_cast<double>(tokens_) / elapsed},
                  {"real_tokens_per_second", static_cast<double>(real_tokens_) / elapsed}});
  progress_->update(done, loss_sum_ / static_cast<double>(rows_));
  if (done % recipe_.train.log_every == 0 || done == total_steps_) log_line(done);
}

void Trainer::log_line(int64_t step) {
  double elapsed = now() - began_ - paused_;
  progress_->line(fmt::format(
      "step {}/{}  mean loss {:.4f}  step loss {:.4f}  accuracy {:.4f}  lr {:.3e}  grad norm {:.3f}  {}  {:.0f} tokens/s  {:.0f} "
      "non-pad tokens/s",
      step, total_steps_, loss_sum_ / static_cast<double>(rows_), step_loss_, correct_sum_ / static_cast<double>(rows_),
      learning_rate_, gradient_norm_, format_duration(elapsed), static_cast<double>(tokens_) / elapsed,
      static_cast<double>(real_tokens_) / elapsed));
}

TrainingResult Trainer::run() {
  const size_t in_flight = engine_.steps_in_flight();
  result_.valid_log_loss = result_.valid_accuracy = std::nan("");
  first_look();
  if (recipe_.train.eval_at_start) evaluate(0);
  Progress progress(total_steps_, "train");
  progress_ = &progress;
  BatchPrefetcher batches(train_, 0, total_steps_);
  began_ = now();
  paused_ = 0;
  for (int64_t step = 0; step < total_steps_; ++step) {
    send(step, batches.next());
    while (sent_.size() >= in_flight) receive();
    bool evaluates = recipe_.train.eval_every > 0 && (step + 1) % recipe_.train.eval_every == 0;
    if (evaluates && step + 1 < total_steps_) {
      while (!sent_.empty()) receive();
      evaluate(step + 1);
    }
  }
  while (!sent_.empty()) receive();
  result_.steps = total_steps_;
  result_.seconds = now() - began_ - paused_;
  result_.final_loss = loss_sum_ / static_cast<double>(std::max<int64_t>(1, rows_));
  progress.finish();
  evaluate(total_steps_);
  return result_;
}

}  // namespace

TrainingResult run_training(const Recipe& recipe) {
  if (recipe.train.save_every > 0 || recipe.train.resume != Recipe::Resume::kNever)
    fail("train.save_every and train.resume: this version keeps no checkpoints; leave them at 0 and never");
  RunFolder folder(recipe.output);

  std::optional<ModelFiles> files;
  LlamaConfig config = load_config(recipe, files);
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  config.pad_token_id = tokenizer.pad_id();
  spdlog::info("model {}: {} layers, hidden {}, {} heads ({} key-value), vocabulary {}", recipe.model.path,
               config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.num_key_value_heads,
               config.vocab_size);
  if (files && !files->unused().empty())
    spdlog::warn("{}: {} tensors are not used, such as '{}'", recipe.model.path, files->unused().size(), files->unused()[0]);

  RunDataLoader loader(recipe, tokenizer);
  std::shared_ptr<pjrt::Client> client = open_device(recipe);
  const Mesh mesh = mesh_of(recipe, *client);
  StepOptions options = step_options(recipe, config, *client);
  std::string devices = mesh.devices() == 1 ? "" : fmt::format(", mesh {} (dp x fsdp x mp)", to_string(mesh));
  spdlog::info("device {} ({}){}, weights {}, computing in {}, layers {}", client->platform_name(),
               client->device(0).kind, devices, dtype_name(options.model.dtype), dtype_name(options.model.compute_dtype),
               options.model.form == LayerForm::kScan ? "as a scan" : "unrolled");
  print_lines(trainable_table(options));

  Engine engine(client, options, compile_cache_folder());
  double start = now();
  if (files && !recipe.model.random_init)
    engine.load_frozen(*files);
  else
    engine.random_frozen(static_cast<uint64_t>(recipe.train.seed));
  AdapterConfig adapter{options.model.lora, recipe.model.path};
  engine.set_trainable(initial_trainable(recipe, options));
  spdlog::info("weights loaded in {}", format_duration(now() - start));

  RunData data = loader.get();
  print_lines(describe_data(recipe, data));
  if (data.shared_prompts > 0)
    spdlog::warn("{} validation rows have a prompt that training sees too: their figures will look too good", data.shared_prompts);
  Batcher train(data.train.tokens, batch_options(recipe, mesh));
  std::optional<Batcher> valid;
  if (data.valid) valid.emplace(data.valid->tokens, judging_options(batch_options(recipe, mesh)));
  PaddingWaste waste = train.waste();
  spdlog::info("batching {}: {} steps of {} rows an epoch, {:.1f} % padding", choice_name(recipe.data.batching),
               train.steps_per_epoch(), train.rows_per_step(), 100 * waste.wasted());
  int64_t total_steps = recipe.train.max_steps.value_or(recipe.train.epochs * train.steps_per_epoch());
  check_schedule(recipe, total_steps);

  write_file(folder.file("recipe.yaml"), to_yaml(recipe));
  Trainer trainer(recipe, folder, engine, train, valid ? &*valid : nullptr, total_steps);
  TrainingResult result = trainer.run();

  save_adapter(folder.path(), config, adapter, engine.trainable());
  tokenizer.save(folder.path());
  LossPlot plot = trainer.plot();
  plot.title = "Loss of " + folder.path().filename().string();
  plot.subtitle = fmt::format("{}, {}", recipe.model.path, recipe.data.train);
  if (valid) plot.reference = {constant_log_loss(valid->dataset()), "label shares"};
  write_loss_svg(folder.file("loss.svg"), plot);
  spdlog::info("saved {}: adapter, tokenizer, recipe.yaml, metrics.jsonl, loss.svg", folder.path().string());
  return result;
}

}  // namespace gavel
