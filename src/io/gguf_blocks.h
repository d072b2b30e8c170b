#pragma once
#include <optional>

#include "io/gguf.h"
#include "spec/quantisation.h"

namespace gavel {

/** How weights of a GGUF type are held with exactly their numbers: in its codes, its groups and its blocks. Nothing for
 * types that are numbers of their own, and for those whose scales are beyond float16. */
std::optional<Quantisation> block_quantisation(GgmlType type);

/** What holds the weights of both exactly: in int8 where the codes differ, in the smaller groups and blocks. */
Quantisation holding_both(const Quantisation& one, const Quantisation& other);

/** How all these types together are held exactly, such as those of a weight in each layer: in blocks, or as numbers where all
 * are numbers. */
FileStorage held_together(const std::vector<uint32_t>& types);

/** Takes `count` elements (whole blocks of the type and of `how`) apart: codes as `how` has them, and float16 scales as
 * BlockScales does. `how`: block_quantisation of the type, or what holds that and others. */
void take_apart(GgmlType type, const uint8_t* data, int64_t count, const Quantisation& how, uint8_t* codes,
                uint16_t* scales);

}  // namespace gavel
