#pragma once

namespace gavel {

/** "0.1.0" */
const char* version();

}  // namespace gavel
