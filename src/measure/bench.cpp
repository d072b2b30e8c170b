#include "measure/bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/prefetch.h"
#include "engine/engine.h"
#include "judge/evaluate.h"
#include "kernels/thread_pool.h"
#include "report/progress.h"
#include "report/table.h"
#include "setup/choose_layers.h"
#include "setup/open_device.h"
#include "setup/open_model.h"
#include "setup/run_data.h"
#include "setup/run_options.h"
#include "setup/run_trace.h"
#include "setup/step_work.h"

namespace gavel {

namespace {

int64_t bench_steps(const Batcher& batcher, const BenchOptions& options) {
  const int64_t all = options.epochs * batcher.steps_per_epoch();
  return std::min(all, options.max_steps.value_or(all));
}

/** All shapes that the steps have. */
std::vector<BatchShape> bench_shapes(const Batcher& batcher, int64_t steps) {
  std::vector<BatchShape> shapes;
  for (int64_t epoch = 0; epoch * batcher.steps_per_epoch() < steps; ++epoch)
    for (const BatchShape& shape : batcher.epoch_shapes(epoch, steps - epoch * batcher.steps_per_epoch()))
      if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  return shapes;
}

/** One timed pass over the batches, with as many steps in flight as in training. */
class Bench {
 public:
  /** `called`: when the measuring program was started, by steady_seconds(). */
  Bench(const Recipe& recipe, const BenchOptions& options, Engine& engine, const Batcher& batcher, double called,
        RunTrace& trace)
      : recipe_(recipe), options_(options), engine_(engine), batcher_(batcher), called_(called), trace_(trace) {}

  void run(BenchResult& result);

 private:
  struct Sent {
    int64_t step;
    StepBatches batches;
    std::optional<PendingStats> stats;
    std::deque<PendingEvaluation> evaluations;
  };
  void send(int64_t step, StepBatches batches);
  void receive(BenchResult& result);
  void count(const Sent& sent, BenchResult& result) const;

  const Recipe& recipe_;
  const BenchOptions& options_;
  Engine& engine_;
  const Batcher& batcher_;
  double called_;
  RunTrace& trace_;
  std::deque<Sent> sent_;
  std::string losses_;
  double loss_sum_ = 0, loss_weight_ = 0, began_ = 0;
};

void Bench::send(int64_t step, StepBatches batches) {
  const ScopedSpan span(trace_.spans(), "send");
  Sent sent{step, std::move(batches), {}, {}};
  if (options_.predict) {
    for (const Batch& batch : sent.batches.micro) sent.evaluations.push_back(engine_.start_evaluation(batch));
  } else {
    double rate = recipe_.train.learning_rate;
    sent.stats = engine_.train_step(sent.batches.micro, step, rate, sent.batches.weight,
                                    static_cast<uint64_t>(recipe_.train.seed));
  }
  sent_.push_back(std::move(sent));
}

void Bench::count(const Sent& sent, BenchResult& result) const {
  const StepOptions& step = engine_.options();
  for (const Batch& batch : sent.batches.micro) {
    result.rows += batch.num_rows;
    result.tokens += batch.num_tokens;
    result.real_tokens += batch.num_real_tokens;
    BatchShape shape = shape_of(batch);
    const EngineProgram& program = options_.predict ? engine_.evaluation_program(shape) : engine_.train_program(shape);
    for (const auto& [op, flops] : batch_flops(program.flops, step, batch, batcher_)) {
      result.flops += flops;
      result.kernels[op].flops += flops;
    }
  }
}

void Bench::receive(BenchResult& result) {
  Sent sent = std::move(sent_.front());
  sent_.pop_front();
  double loss = 0;
  nlohmann::json rows = nlohmann::json::array(), logits = nlohmann::json::array();
  const ScopedSpan span(trace_.spans(), "wait for the device");
  if (sent.stats) loss = sent.stats->get().loss;
  for (size_t i = 0; i < sent.batches.micro.size(); ++i) {
    const Batch& batch = sent.batches.micro[i];
    if (!sent.evaluations.empty()) {
      Evaluation found = sent.evaluations[i].get();
      const auto outputs = static_cast<size_t>(engine_.options().task->num_outputs());
      for (size_t row = 0; row < batch.row_indices.size(); ++row) {
        loss += found.losses.as<float>()[row];
        auto of_row = found.logits.as<float>().subspan(row * outputs, outputs);
        logits.push_back(std::vector<float>(of_row.begin(), of_row.end()));
      }
    }
    for (int64_t row : batch.row_indices) rows.push_back(batcher_.dataset().source_row(row));
  }
  const double weight =
      sent.stats ? sent.batches.weight : static_cast<double>(sent.batches.num_rows);  // rows' losses as they are
  loss_sum_ += loss;
  loss_weight_ += weight;
  if (options_.losses) {
    nlohmann::json line = {{"step", sent.step + 1}, {"rows", rows}, {"loss", loss / weight}};
    if (options_.predict) line["logits"] = logits;
    losses_ += line.dump() + "\n";
  }
  if (sent.step == 0) {
    // The first step also warms the caches up: time starts behind it.
    began_ = steady_seconds();
    result.first_step_seconds = began_ - called_;
    take_kernel_times();
  } else {
    ++result.steps;
    result.seconds = steady_seconds() - began_;
    count(sent, result);
  }
}

void Bench::run(BenchResult& result) {
  const size_t in_flight = engine_.traits().steps_in_flight;
  const int64_t steps = bench_steps(batcher_, options_);
  if (steps < 2)
    fail("bench: {} step of {} rows; at least two are needed, since the first is not timed", steps,
         batcher_.rows_per_step());
  {
    BatchPrefetcher batches(batcher_, 0, steps, 2, trace_.spans());
    Progress bar(steps, "bench");
    for (int64_t step = 0; step < steps; ++step) {
      trace_.before(step + 1);
      {
        const ScopedSpan span(trace_.spans(), "step", step + 1);
        send(step, batches.next());
        // The clock starts when nothing but the first step has run.
        while (sent_.size() >= (step == 0 ? 1 : in_flight)) receive(result);
      }
      trace_.after(step + 1 - static_cast<int64_t>(sent_.size()));
      bar.update(step + 1);
    }
    while (!sent_.empty()) receive(result);
    trace_.finish();
  }
  result.mean_loss = loss_sum_ / loss_weight_;
  if (options_.losses) write_file(*options_.losses, losses_);
}

RunTrace::Options trace_options(const Recipe& recipe, const BenchOptions& options) {
  RunTrace::Options trace{.info = [](const std::string& text) { spdlog::info("{}", text); },
                          .warn = [](const std::string& text) { spdlog::warn("{}", text); }};
  if (!options.trace) return trace;
  const auto& profile = recipe.train.profile;
  trace.folder = *options.trace;
  // The first step is not timed, so it is not what is asked about.
  trace.first = profile.steps > 0 ? profile.start : 2;
  trace.steps = profile.steps > 0 ? profile.steps : 3;
  return trace;
}

}  // namespace

BenchResult run_bench(const Recipe& given, const BenchOptions& options) {
  const double called = steady_seconds();
  Recipe recipe = with_adapter_settings(given);
  recipe.data.valid = 0.0;
  fetch_base_model(recipe);
  const BaseModel base = open_base_model(recipe);
  RunData data = RunDataLoader(recipe, base.tokenizer).get();
  std::shared_ptr<pjrt::Client> client = open_device(recipe);
  const DeviceTraits traits = device_traits(*client);
  if (!options.predict) {
    const ChosenLayers chosen = choose_layers(recipe, base.spec, client);
    if (!chosen.note.empty()) spdlog::info("{}", chosen.note);
    recipe = chosen.recipe;
  }
  BatchOptions batch = batch_options(recipe, traits, mesh_of(recipe, base.spec, *client).mesh, &base.spec);
  batch.drop_last = false;
  if (options.predict) batch = judging_options(batch);
  Batcher batcher(data.train.tokens, batch);

  Engine engine(client, step_options(recipe, base.spec, *client), compile_cache_folder());
  load_weights(engine, recipe, base);
  const double weights = steady_seconds() - called;
  const StepOptions& step = engine.options();
  engine.set_trainable(initial_trainable(recipe, step, base));

  BenchResult result;
  result.platform = client->platform_name();
  result.compute_dtype = dtype_name(step.model.compute_dtype);
  double start = steady_seconds();
  for (const BatchShape& shape : bench_shapes(batcher, bench_steps(batcher, options))) {
    const EngineProgram& program = options.predict ? engine.evaluation_program(shape) : engine.train_program(shape);
    ++result.programs;
    if (program.from_cache) ++result.programs_from_cache;
  }
  result.compile_seconds = steady_seconds() - start;
  if (traits.is_host) {
    result.threads = kernel_threads();
    result.product_limit = measure_product_limit(step.model.compute_dtype);
    release_freed_memory();  // its matrices are not the run's
  }
  spdlog::info("{} programs ready after {} ({} from the cache); running", result.programs,
               format_duration(result.compile_seconds), result.programs_from_cache);
  set_kernel_profiling(true);
  RunTrace trace(trace_options(recipe, options), client);
  Bench(recipe, options, engine, batcher, called, trace).run(result);
  result.weights_seconds = weights;
  const pjrt::DeviceMemory memory = client->memory(client->device(0));
  result.device_peak_memory = memory.peak;
  result.device_memory_limit = memory.limit;
  set_kernel_profiling(false);
  for (const auto& [target, time] : take_kernel_times()) {
    // A variant counts with the op that calls it.
    KernelTime& sum = result.kernels[target.substr(0, target.find("_forward_only"))].time;
    sum.calls += time.calls;
    sum.seconds += time.seconds;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  result.peak_memory = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return result;
}

std::string BenchResult::to_json() const {
  nlohmann::ordered_json out;
  auto rate = [&](int64_t count) { return static_cast<double>(count) / seconds; };
  out["platform"] = platform;
  out["compute_dtype"] = compute_dtype;
  out["threads"] = threads;
  out["steps"] = steps;
  out["rows"] = rows;
  out["tokens"] = tokens;
  out["real_tokens"] = real_tokens;
  out["seconds"] = seconds;
  out["rows_per_second"] = rate(rows);
  out["tokens_per_second"] = rate(tokens);
  out["real_tokens_per_second"] = rate(real_tokens);
  out["gflops"] = flops / seconds * 1e-9;
  if (product_limit > 0) {
    out["limit_gflops"] = product_limit * 1e-9;
    out["share_of_limit"] = flops / seconds / product_limit;
  }
  out["peak_memory_bytes"] = peak_memory;
  if (device_peak_memory >= 0) out["device_peak_memory_bytes"] = device_peak_memory;
  if (device_memory_limit >= 0) out["device_memory_limit_bytes"] = device_memory_limit;
  out["weights_seconds"] = weights_seconds;
  out["first_step_seconds"] = first_step_seconds;
  out["compile_seconds"] = compile_seconds;
  out["programs"] = programs;
  out["programs_from_cache"] = programs_from_cache;
  out["mean_loss"] = mean_loss;
  for (const auto& [target, kernel] : kernels) {
    if (kernel.time.calls == 0) continue;
    out["kernels"][target] = {{"calls", kernel.time.calls},
                              {"seconds", kernel.time.seconds},
                              {"gflops", kernel.flops / kernel.time.seconds * 1e-9}};
  }
  return out.dump(2);
}

std::string BenchResult::to_text() const {
  auto per_second = [&](int64_t count) { return static_cast<double>(count) / seconds; };
  std::string text = fmt::format(
      "{} on {} ({} threads), {} steps in {}\n"
      "  {:.3f} rows/s   {:.1f} tokens/s   {:.1f} non-pad tokens/s ({:.1f} % padding)\n",
      compute_dtype, platform, threads, steps, format_duration(seconds), per_second(rows), per_second(tokens),
      per_second(real_tokens), 100 - 100 * static_cast<double>(real_tokens) / static_cast<double>(tokens));
  text += fmt::format("  {:.1f} GFLOP/s of matrix products", flops / seconds * 1e-9);
  if (product_limit > 0)
    text +=
        fmt::format(", {:.1f} % of this machine's {:.1f}", 100 * flops / seconds / product_limit, product_limit * 1e-9);
  if (device_peak_memory > 0)
    text += fmt::format("\n  peak memory of the device {}", format_bytes(static_cast<uint64_t>(device_peak_memory)));
  text += fmt::format("\n  peak memory {}, {} programs compiled in {} ({} from the cache), mean loss {:.4f}\n",
                      format_bytes(peak_memory), programs, format_duration(compile_seconds), programs_from_cache,
                      mean_loss);
  std::vector<std::pair<std::string, Kernel>> order(kernels.begin(), kernels.end());
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.second.time.seconds > b.second.time.seconds; });
  std::vector<std::vector<std::string>> table;
  double inside = 0;
  for (const auto& [target, kernel] : order) {
    if (kernel.time.calls == 0) continue;
    inside += kernel.time.seconds;
    table.push_back({target, fmt::format("{}", kernel.time.calls), fmt::format("{:.3f}", kernel.time.seconds),
                     fmt::format("{:.1f}", 100 * kernel.time.seconds / seconds),
                     kernel.flops > 0 ? fmt::format("{:.0f}", kernel.flops / kernel.time.seconds * 1e-9) : ""});
  }
  if (!table.empty()) {
    table.push_back({"everything else", "", fmt::format("{:.3f}", seconds - inside),
                     fmt::format("{:.1f}", 100 * (seconds - inside) / seconds), ""});
    text += "\n" + format_table({"kernel", "calls", "seconds", "% of the time", "GFLOP/s"}, table,
                                {Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  }
  return text;
}

}  // namespace gavel
