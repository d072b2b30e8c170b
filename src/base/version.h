#pragma once

namespace gavel {

/** Gavel's version: "0.1.0". */
const char* version();

}  // namespace gavel
