#include "pjrt/ffi.h"

#include "pjrt/api.h"
#include "xla/pjrt/c/pjrt_c_api_ffi_extension.h"

namespace gavel::pjrt {

namespace {

const PJRT_FFI_Extension* ffi_extension(const Plugin& plugin) {
  auto* extension = reinterpret_cast<const PJRT_FFI_Extension*>(plugin.find_extension(PJRT_Extension_Type_FFI));
  if (extension == nullptr) return nullptr;
  constexpr size_t kNeeded = offsetof(PJRT_FFI_Extension, register_handler) + sizeof(void*);
  return extension->base.struct_size >= kNeeded && extension->register_handler != nullptr ? extension : nullptr;
}

}  // namespace

bool has_ffi(const Plugin& plugin) {
  return ffi_extension(plugin) != nullptr;
}

void register_ffi_handler(const Plugin& plugin, const std::string& target, const std::string& platform, void* handler) {
  const PJRT_FFI_Extension* extension = ffi_extension(plugin);
  if (extension == nullptr)
    fail(
        "{}: custom call {}: this plugin (PJRT API {}.{}) can't call handlers of the host program (no FFI "
        "extension); choose the plain kernels",
        plugin.name(), target, plugin.api_major(), plugin.api_minor());
  auto args = make_args<PJRT_FFI_Register_Handler_Args>();
  args.target_name = target.data();
  args.target_name_size = target.size();
  args.handler = handler;
  args.platform_name = platform.data();
  args.platform_name_size = platform.size();
  if (PJRT_Error* error = extension->register_handler(&args))
    throw_error(plugin, error, fmt::format("registering custom call {} for {}", target, platform));
}

}  // namespace gavel::pjrt
