#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernels/kernel_profile.h"
#include "recipe/recipe.h"

namespace gavel {

struct BenchOptions {
  /** Forward passes alone, with the batches of an evaluation, instead of training steps. */
  bool predict = false;
  /** How often to go over the rows. */
  int64_t epochs = 1;
  /** Steps at most. */
  std::optional<int64_t> max_steps;
  /** A JSON line per step: step, rows (rows of the file, as in the batch), loss (mean of the step), with `predict` also
   * logits of each row. */
  std::optional<std::filesystem::path> losses;
  /** A folder for a trace of some timed steps, as a run's (setup/run_trace.h): those of the recipe's train.profile, else
   * three from the second on. What it costs is in the figures. */
  std::optional<std::filesystem::path> trace;
};

struct BenchResult {
  std::string platform, compute_dtype;
  int64_t threads = 0;
  int64_t steps = 0;  // timed: all but the first
  int64_t rows = 0, tokens = 0, real_tokens = 0;
  double seconds = 0;
  /** Matrix-product work that the timed steps executed: of linears padding included, of attention only what
   * the rows' own causal halves need. */
  double flops = 0;
  double product_limit = 0;  // FLOP/s of bare oneDNN products; 0 on other devices than the CPU
  /** Time to compile all programs, or to read them from the cache. */
  double compile_seconds = 0;
  int64_t programs = 0, programs_from_cache = 0;
  uint64_t peak_memory = 0;  // bytes, of the process
  /** Of the first device, as its plugin counts them; -1: it does not. */
  int64_t device_peak_memory = -1, device_memory_limit = -1;
  /** From the call until the base weights are on the devices, and until the first step is done: what a start takes. */
  double weights_seconds = 0, first_step_seconds = 0;
  double mean_loss = 0;

  struct Kernel {
    KernelTime time;
    double flops = 0;
  };
  std::map<std::string, Kernel> kernels;

  std::string to_json() const;
  std::string to_text() const;
};

/** Trains (or predicts) on all rows of the recipe's training data, none kept for validation, and measures; writes no
 * run. Compilation and the first step are left out of the rates. Throws Error as training does, and for fewer than two
 * steps. */
BenchResult run_bench(const Recipe& recipe, const BenchOptions& options);

}  // namespace gavel
