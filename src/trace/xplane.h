#pragma once
#include <string>
#include <string_view>

#include "trace/spans.h"

namespace gavel {

/** The bytes of an XSpace (tsl/profiler/protobuf/xplane.proto), which TensorBoard's profile plugin reads: a plane
 * "/host:CPU" with a line for each thread of `recording`, spans longest first where they begin together, and the
 * planes of `device_space`, an XSpace as a plugin's profiler gives it ("" for none). Times count from the recording's
 * begin. Throws Error when `device_space` is no XSpace. */
std::string to_xspace(const SpanRecording& recording, std::string_view device_space);

}  // namespace gavel
