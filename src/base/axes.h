#pragma once
#include <string>
#include <vector>

namespace gavel {

/** Names of the mesh axes that split each dimension of an array, the major one first: {{"dp", "fsdp"}, {}}
 * splits dimension 0 over dp x fsdp devices and leaves dimension 1 whole. As many entries as dimensions. */
using DimensionAxes = std::vector<std::vector<std::string>>;

/** "[{dp, fsdp}, {}]" */
std::string to_string(const DimensionAxes& axes);

}  // namespace gavel
