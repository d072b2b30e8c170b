#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/batcher.h"
#include "engine/programs.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"

namespace gavel {

struct ParameterCounts {
  int64_t trained = 0, frozen = 0;
};
ParameterCounts count_parameters(const ModelOptions& model);

/** A table of the trained tensors, and the share of all parameters that is trained. */
std::string trainable_table(const ModelOptions& model);

/** run.json's part that does not change while the run runs (docs/files.md). */
nlohmann::ordered_json about_run(const Recipe& recipe, const StepOptions& options, const pjrt::Client& client,
                                 const Batcher& train, const Batcher* valid, int64_t total_steps);

/** What may change the last bits of a run's numbers: RunIdentity::environment. */
std::vector<std::pair<std::string, std::string>> run_environment(const pjrt::Client& client);

/** Bytes in use: of this process on the CPU, else of its first device; -1: not known. */
int64_t memory_in_use(const pjrt::Client& client);

}  // namespace gavel
