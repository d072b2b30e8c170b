#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace gavel {

/** What a compiled program sends between devices. */
struct Collectives {
  /** Per kind ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"): bytes of
   * the results on each device in one run (of a reduce-scatter, of its operand), loops counted as often as
   * they run. */
  std::map<std::string, double> bytes;
  std::map<std::string, int64_t> calls;
  /** Per kind: bytes that each device takes in from others at the least. Of a gather these are the result without the
   * device's own part; an all-reduce without help from a switch costs a scattered sum and a gather. */
  std::map<std::string, double> received;
  /** Of these what the program waits for, doing nothing else. */
  double waited_for = 0;
  /** Loops whose number of runs the program does not state; each was counted as `unknown_trips` runs. */
  int64_t unknown_loops = 0;
};

namespace hlo {
struct Module;
}

/** Of a program. `devices` is what a collective without groups runs over. */
Collectives count_collectives(const hlo::Module& module, int64_t unknown_trips, int64_t devices);
/** Reads an xla.HloModuleProto, or an HloProto or HloModuleProtoWithConfig around one, as plugins give it for
 * the optimised program. Throws Error when the bytes are none of
 * these. */
Collectives count_collectives(std::string_view proto, int64_t unknown_trips, int64_t devices);

/** What reads the arrays that the calls of this custom-call target give, also within fusions: how many instructions of each
 * opcode. One that moves nothing in memory is a "bitcast". Throws as count_collectives. */
std::map<std::string, int64_t> readers_of_calls(std::string_view proto, std::string_view target);

}  // namespace gavel
