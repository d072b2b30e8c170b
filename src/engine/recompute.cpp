#include "engine/recompute.h"

#include <fmt/format.h>

namespace gavel {

std::vector<Recompute> recompute_candidates(const StepOptions& options) {
  if (!options.chooses_recompute) return {options.model.recompute};
  return {Recompute::kNone, Recompute::kAttention, Recompute::kAll};
}

std::string_view recompute_name(Recompute recompute) {
  switch (recompute) {
    case Recompute::kAll:
      return "all";
    case Recompute::kAttention:
      return "attention";
    case Recompute::kNone:
      break;
  }
  return "none";
}

double bytes_needed(const pjrt::MemoryStats& memory, double waiting) {
  return static_cast<double>(memory.arguments + memory.outputs - memory.aliased + memory.temporaries +
                             memory.generated_code) +
         waiting;
}

bool is_out_of_memory(std::string_view message) {
  for (std::string_view word : {"RESOURCE_EXHAUSTED", "Ran out of memory", "xceed"})
    if (message.find(word) != std::string_view::npos) return true;
  return false;
}

std::string describe_recompute(Recompute recompute, bool chosen, const ProgramText& program, const ProgramText& all) {
  const std::string name = fmt::format("train.recompute: {}{}", recompute_name(recompute), chosen ? " (auto)" : "");
  if (recompute == Recompute::kAll)
    return fmt::format("{}: nothing but what enters a layer is kept of it; {:.3g} TFLOP a micro-batch", name,
                       all.flops / 1e12);
  return fmt::format(
      "{}: {:.2f} GB of activations are kept, which spares {:.3g} of {:.3g} TFLOP a micro-batch ({:.0f} %)", name,
      program.kept_bytes / 1e9, (all.flops - program.flops) / 1e12, all.flops / 1e12,
      100 * (1 - program.flops / all.flops));
}

}  // namespace gavel
