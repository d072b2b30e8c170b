#pragma once
#include "recipe/recipe.h"

namespace gavel {

/** What a run ends with. */
struct TrainingResult {
  int64_t steps = 0;
  double seconds = 0;          // of the steps, without start and evaluations
  double final_loss = 0;       // mean of the run
  double valid_log_loss = 0;   // NaN without validation rows
  double valid_accuracy = 0;
};

/** Trains as the recipe says, printing progress to standard error, and writes the output folder: the adapter in PEFT's
 * format with its head, tokenizer files, recipe.yaml, metrics.jsonl, loss.svg. Throws Error before anything is
 * written when the recipe, model or data do not fit, or the output folder holds another run or can't be written. */
TrainingResult run_training(const Recipe& recipe);

}  // namespace gavel
