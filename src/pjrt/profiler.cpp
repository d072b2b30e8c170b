#include "pjrt/profiler.h"

#include <utility>

#include "base/protobuf.h"
#include "pjrt/profiler_abi.h"
#include "xla/pjrt/c/pjrt_c_api.h"

namespace gavel::pjrt {

namespace abi = profiler_abi;

namespace {

/** PJRT_Profiler_Extension. */
struct Extension {
  PJRT_Extension_Base base;
  abi::Api* api;
  int64_t traceme_context_id;
};

// More than any recording of a few steps has: a size beyond it is taken for nonsense.
constexpr size_t kMostBytes = size_t{4} << 30;

/** A tensorflow.ProfileOptions: the devices at their usual level and nothing of the host, which Gavel records itself. */
std::string profile_options() {
  constexpr uint32_t kHostLevel = 2, kDeviceLevel = 3, kPythonLevel = 4, kVersion = 5, kHloProto = 7;
  std::string options;
  protobuf::put_integer(options, kHostLevel, 0);
  protobuf::put_integer(options, kDeviceLevel, 1);
  protobuf::put_integer(options, kPythonLevel, 0);
  protobuf::put_integer(options, kVersion, 1);
  protobuf::put_integer(options, kHloProto, 1);
  return options;
}

bool is_message(std::string_view bytes) {
  protobuf::Fields fields(bytes);
  while (fields.next()) {
  }
  return fields.whole();
}

template <class Args>
Args args_of() {
  Args args{};
  args.struct_size = sizeof(Args);
  return args;
}

template <class Args>
Args args_for(abi::Profiler* profiler) {
  auto args = args_of<Args>();
  args.profiler = profiler;
  return args;
}

}  // namespace

std::unique_ptr<Profiler> Profiler::start(const Plugin& plugin) {
  const auto* extension = reinterpret_cast<const Extension*>(plugin.find_extension(PJRT_Extension_Type_Profiler));
  if (extension == nullptr) return nullptr;
  constexpr size_t kNeeded = offsetof(Extension, api) + sizeof(void*);
  if (extension->base.struct_size < kNeeded || extension->api == nullptr) return nullptr;
  return std::make_unique<Profiler>(*extension->api, plugin.name());
}

Profiler::Profiler(const abi::Api& api, std::string name) : api_(api), name_(std::move(name)) {
  if (api_.struct_size < sizeof(abi::Api))
    fail("{}: its profiler's table has {} bytes, expected at least {}", name_, api_.struct_size, sizeof(abi::Api));
  const std::string options = profile_options();
  auto args = args_of<abi::CreateArgs>();
  args.options = options.data();
  args.options_size = options.size();
  check(api_.create(&args), "making it");
  handle_ = args.profiler;
  auto start = args_for<abi::ProfilerArgs>(handle_);
  try {
    check(api_.start(&start), "starting it");
  } catch (...) {
    auto destroy = args_for<abi::ProfilerArgs>(handle_);
    api_.destroy(&destroy);
    throw;
  }
  running_ = true;
}

Profiler::~Profiler() {
  auto discard = [&](abi::Error* error) {
    if (error == nullptr) return;
    auto args = args_of<abi::ErrorDestroyArgs>();
    args.error = error;
    api_.error_destroy(&args);
  };
  auto args = args_for<abi::ProfilerArgs>(handle_);
  if (running_) discard(api_.stop(&args));
  args = args_for<abi::ProfilerArgs>(handle_);
  discard(api_.destroy(&args));
}

std::string Profiler::stop() {
  auto args = args_for<abi::ProfilerArgs>(handle_);
  running_ = false;
  check(api_.stop(&args), "stopping it");
  auto collect = args_for<abi::CollectArgs>(handle_);
  check(api_.collect(&collect), "asking for the size of what it recorded");
  if (collect.buffer_size > kMostBytes)
    fail("{}: the profiler has recorded {} bytes, more than the {} that are taken", name_, collect.buffer_size,
         kMostBytes);
  std::string bytes(collect.buffer_size, '\0');
  if (collect.buffer != nullptr) {
    bytes.assign(reinterpret_cast<const char*>(collect.buffer), collect.buffer_size);
  } else if (!bytes.empty()) {
    collect = args_for<abi::CollectArgs>(handle_);
    collect.buffer = reinterpret_cast<uint8_t*>(bytes.data());
    collect.buffer_size = bytes.size();
    check(api_.collect(&collect), "taking what it recorded");
  }
  // The CUDA plugin counts the zero behind its text.
  if (bytes.ends_with('\0') && !is_message(bytes)) bytes.pop_back();
  return bytes;
}

void Profiler::check(abi::Error* error, const char* what) const {
  if (error == nullptr) return;
  auto message = args_of<abi::ErrorMessageArgs>();
  message.error = error;
  api_.error_message(&message);
  const std::string text(message.message == nullptr ? "" : message.message, message.message_size);
  auto destroy = args_of<abi::ErrorDestroyArgs>();
  destroy.error = error;
  api_.error_destroy(&destroy);
  fail("{}: the profiler: {}: {}", name_, what, text);
}

}  // namespace gavel::pjrt
