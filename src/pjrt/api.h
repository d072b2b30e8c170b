#pragma once
// Internal to src/pjrt: the one place that calls into a plugin.
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/dtype.h"
#include "pjrt/plugin.h"
#include "xla/pjrt/c/pjrt_c_api.h"

namespace gavel::pjrt {

/** A zeroed argument struct with its size set. sizeof can exceed X_STRUCT_SIZE by the padding at the end; all
 * of it is zero, which the C API defines as "not given" for fields that a newer plugin may have put there. */
template <class Args>
Args make_args() {
  Args args{};
  args.struct_size = sizeof(Args);
  return args;
}

/** Destroys `error` and throws PjrtError "{plugin}: {context}: CODE: text". */
[[noreturn]] void throw_error(const Plugin& plugin, PJRT_Error* error, std::string_view context);
/** Destroys an error that must not throw (destructors, callbacks). */
void discard(const PJRT_Api* api, PJRT_Error* error) noexcept;
/** Throws Error: the plugin lacks the function that `context` needs. */
[[noreturn]] void throw_missing(const Plugin& plugin, std::string_view context);

/** Whether the plugin's function table reaches this function and it is set. */
template <class Function>
bool has(const PJRT_Api* api, Function PJRT_Api::* function) {
  auto offset =
      static_cast<size_t>(reinterpret_cast<const char*>(&(api->*function)) - reinterpret_cast<const char*>(api));
  return offset + sizeof(Function) <= api->struct_size && api->*function != nullptr;
}

/** Calls one function of the plugin; throws when the plugin lacks it or reports an error. `context` says what
 * was being done and to what. */
template <class Args>
void call(const Plugin& plugin, PJRT_Error* (*PJRT_Api::*function)(Args*), Args& args, std::string_view context) {
  if (!has(plugin.api(), function)) throw_missing(plugin, context);
  if (PJRT_Error* error = (plugin.api()->*function)(&args)) throw_error(plugin, error, context);
}

/** The same for destructors: never throws. */
template <class Args>
void call_quietly(const Plugin& plugin, PJRT_Error* (*PJRT_Api::*function)(Args*), Args& args) noexcept {
  if (has(plugin.api(), function)) discard(plugin.api(), (plugin.api()->*function)(&args));
}

/** Options as the C API wants them. They view `options`, which must outlive them. */
std::vector<PJRT_NamedValue> to_named_values(const Options& options);
Options from_named_values(const PJRT_NamedValue* values, size_t count);

PJRT_Buffer_Type to_pjrt(DType dtype);
/** Throws Error for types that Gavel has no host form of. */
DType from_pjrt(const Plugin& plugin, PJRT_Buffer_Type type, std::string_view context);

}  // namespace gavel::pjrt
