#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "engine/programs.h"
#include "pjrt/executable.h"

namespace gavel {

// How much of a layer the gradient of a scan computes again (Recompute) where that is to be chosen by memory: programs are
// compiled from the one that keeps most to the one that keeps least, until one fits by the compiler's own figures.

/** What to try, in this order: one where nothing is to be chosen. */
std::vector<Recompute> recompute_candidates(const StepOptions& options);

/** "all", "attention" or "none", as train.recompute has them. */
std::string_view recompute_name(Recompute recompute);

/** Bytes that a device needs while the program runs. `waiting`: of what lies on it beside the program's arguments. */
double bytes_needed(const pjrt::MemoryStats& memory, double waiting);

/** The share of the memory that a plugin has for itself which a chosen program may need: the rest is for evaluation's programs,
 * batches on their way, and pieces between what is allocated. */
inline constexpr double kShareToPlan = 0.92;

/** Whether it is the compiler's or the device's word for "more than the device has". */
bool is_out_of_memory(std::string_view message);

/** One line: what `program`, made with `recompute`, keeps in memory and what that spares, beside `all`, the program that computes
 * whole layers again. */
std::string describe_recompute(Recompute recompute, bool chosen, const ProgramText& program, const ProgramText& all);

}  // namespace gavel
