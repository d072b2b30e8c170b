#pragma once
#include "base/key_value.h"
#include "pjrt/api.h"

namespace gavel::pjrt {

/** Lets the plugin put and get values of `store`, which must outlive the client. */
void attach(PJRT_Client_Create_Args& create, KeyValueStore& store);

}  // namespace gavel::pjrt
