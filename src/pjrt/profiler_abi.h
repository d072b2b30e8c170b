#pragma once
// Internal to src/pjrt and its tests: the functions behind a plugin's profiler extension, as XLA's plugins lay them out in
// memory. The packages that bring the C API's headers leave this one out. Each argument struct begins with its size up to
// the end of its last member; `priv` is for later versions.
#include <cstddef>
#include <cstdint>

namespace gavel::pjrt::profiler_abi {

struct Error;     // the plugin's own
struct Profiler;  // the plugin's own

struct ErrorDestroyArgs {
  size_t struct_size;
  void* priv;
  Error* error;
};
struct ErrorMessageArgs {
  size_t struct_size;
  void* priv;
  const Error* error;
  const char* message;  // out
  size_t message_size;  // out
};
struct ErrorCodeArgs {
  size_t struct_size;
  void* priv;
  const Error* error;
  int code;  // out
};
struct CreateArgs {
  size_t struct_size;
  const char* options;  // a serialised tensorflow.ProfileOptions
  size_t options_size;
  Profiler* profiler;  // out
};
/** Of destroy, start and stop alike. */
struct ProfilerArgs {
  size_t struct_size;
  Profiler* profiler;
};
struct CollectArgs {
  size_t struct_size;
  Profiler* profiler;
  uint8_t* buffer;     // null: tell the size, and perhaps where the plugin's own copy is
  size_t buffer_size;  // out; a byte more than the message has in some plugins
};

struct Api {
  size_t struct_size;
  void* priv;
  void (*error_destroy)(ErrorDestroyArgs*);
  void (*error_message)(ErrorMessageArgs*);
  Error* (*error_code)(ErrorCodeArgs*);
  Error* (*create)(CreateArgs*);
  Error* (*destroy)(ProfilerArgs*);
  Error* (*start)(ProfilerArgs*);
  Error* (*stop)(ProfilerArgs*);
  Error* (*collect)(CollectArgs*);
};

}  // namespace gavel::pjrt::profiler_abi
