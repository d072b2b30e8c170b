#pragma once
#include <string>

#include "pjrt/plugin.h"

namespace gavel::pjrt {

/** Whether the plugin can call handlers of ours (it has the FFI extension with register_handler). */
bool has_ffi(const Plugin& plugin);

/** Makes `handler` callable from programs as stablehlo.custom_call @`target` with api_version 4.
 * `handler` is an XLA_FFI_Handler*, as XLA_FFI_DEFINE_HANDLER_SYMBOL defines it; `platform` is "Host" for the
 * CPU plugin or "CUDA". Register before compiling, and before loading a compiled program from the cache. The
 * plugin keeps the handler until the process ends; a name that is registered already keeps its first handler,
 * and the plugin says nothing. Throws Error when the plugin has no FFI, PjrtError when it refuses. */
void register_ffi_handler(const Plugin& plugin, const std::string& target, const std::string& platform, void* handler);

}  // namespace gavel::pjrt
