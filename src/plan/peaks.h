#pragma once
#include <string_view>

#include "base/dtype.h"

namespace gavel {

/** Dense products a second at most of one device in `type` by its maker's figures; `kind`: as PJRT names devices, such as
 * "NVIDIA L4" or "TPU v5 lite". 0: not known. */
double device_peak_flops(std::string_view kind, DType type);

}  // namespace gavel
