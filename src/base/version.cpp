#include "base/version.h"

namespace gavel {

const char* version() {
  return GAVEL_VERSION;
}

}  // namespace gavel
