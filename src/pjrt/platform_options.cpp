#include "pjrt/platform_options.h"

#include <charconv>
#include <cstdlib>

#include "base/file.h"
#include "pjrt/client.h"
#include "pjrt/cuda_libraries.h"
#include "pjrt/topology.h"

namespace gavel::pjrt {

namespace {

constexpr const char* kFractionName = "GAVEL_CUDA_MEMORY_FRACTION";
constexpr const char* kAllocatorName = "GAVEL_CUDA_ALLOCATOR";
constexpr const char* kDevicesName = "GAVEL_CUDA_DEVICES";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_plugin_of(std::string_view device, std::string_view platform) {
  if (device == platform) return true;
  return device.find('/') != std::string_view::npos &&
         std::filesystem::path(device).filename().string().find(platform) != std::string::npos;
}

std::vector<int64_t> visible_devices() {
  std::vector<int64_t> ids;
  const std::string text = variable(kDevicesName);
  for (const char *at = text.data(), *end = at + text.size(); at < end; ++at) {
    int64_t id = 0;
    auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || (next != end && *next != ',') || (next != end && next + 1 == end))
      fail("{}: expected numbers of devices such as 0,2, found '{}'", kDevicesName, text);
    ids.push_back(id);
    at = next;
  }
  return ids;
}

std::string allocator() {
  std::string name = variable(kAllocatorName);
  if (name.empty()) return "bfc";
  for (const char* known : {"default", "platform", "bfc", "cuda_async"})
    if (name == known) return name;
  fail("{}: expected bfc, cuda_async, platform or default, found '{}'", kAllocatorName, name);
}

/** Whether a text of flags ("--a=1 --b") sets the flag. */
bool sets_flag(const std::string& flags, const std::string& name) {
  for (size_t at = flags.find(name); at != std::string::npos; at = flags.find(name, at + 1)) {
    const char before = at == 0 ? ' ' : flags[at - 1];
    const size_t end = at + name.size();
    const char after = end == flags.size() ? ' ' : flags[end];
    if ((before == '-' || before == ' ') && (after == '=' || after == ' ')) return true;
  }
  return false;
}

}  // namespace

double cuda_memory_fraction() {
  // XLA's own share is 0.75: of an H100's 85 GB 21 would lie idle, and a step that fits by the compiler's figure would not. What is
  // left is for CUDA's context, loaded kernels, cuBLAS's and cuDNN's own workspaces and NCCL's buffers, 2 to 5 GB together.
  constexpr double kShare = 0.92;
  const std::string text = variable(kFractionName);
  if (text.empty()) return kShare;
  double share = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (error != std::errc() || end != text.data() + text.size() || !(share > 0) || !(share <= 1))
    fail("{}: expected a share of the device's memory such as 0.92, found '{}'", kFractionName, text);
  return share;
}

Options client_options(std::string_view device, ClientUse use) {
  Options options;
  if (!is_plugin_of(device, "cuda")) return options;
  const std::string kind = allocator();
  // One block taken at the start and divided by XLA (bfc): no call of the driver in a step, and what another process takes later
  // can't end a run in its middle. cuda_async leaves freed memory to others at the price of the driver's calls.
  if (kind != "default") options["allocator"] = kind;
  options["memory_fraction"] = static_cast<float>(cuda_memory_fraction());
  options["preallocate"] = use == ClientUse::kRun && kind != "platform";
  // Numbers count what CUDA_VISIBLE_DEVICES leaves, which the driver itself obeys.
  if (auto ids = visible_devices(); !ids.empty()) options["visible_devices"] = std::move(ids);
  return options;
}

void add_platform_options(CompileOptions& options, std::string_view platform, std::string_view kind, int64_t memory,
                          std::string_view cuda_folder) {
  const std::string flags = variable("XLA_FLAGS") + " " + variable("LIBTPU_INIT_ARGS");
  auto prefer = [&](const char* name, OptionValue value) {
    // What is given with a program would win over them.
    if (!sets_flag(flags, name)) options.preferences[name] = std::move(value);
  };
  const bool sends = options.num_partitions > 1;
  if (platform == "cuda") {
    // Untold, the scheduler takes 80 % of the device's memory for its limit, and computes again what does not fit in there, although
    // the client holds more.
    options.device_memory = memory > 0 ? memory : 0;
    // Products compiled with what stands around them (norms' factors, weights that are unpacked on the way in), at the tile sizes
    // that are the fastest by trial on this very device; both are XLA's defaults, and `plan` predicts on the ground of them.
    prefer("xla_gpu_enable_triton_gemm", true);
    prefer("xla_gpu_autotune_level", int64_t{4});
    // The next layer's weights are gathered while this one computes; off by default.
    if (sends) prefer("xla_gpu_enable_latency_hiding_scheduler", true);
    // ptxas and libdevice, of the wheels beside the plugin; else they are looked for in /usr/local/cuda.
    if (!cuda_folder.empty()) prefer("xla_gpu_cuda_data_dir", std::string(cuda_folder));
  }
  if (platform != "tpu") return;
  const auto is_generation = [&](std::string_view name) { return kind.find(name) != std::string_view::npos; };
  // The sparse cores gather while the matrix units compute. Without it 14 gathers of a Llama layer are waited for, on eight chips
  // 347 ms of a step by libtpu's figures against 216. v5e and older have no such cores; on v5p it was not looked at.
  if (sends && is_generation("v6")) prefer("xla_tpu_enable_sparse_core_collective_offload_all_gather", true);
  // How much of a chip's fast memory one fused operation may have for its tiles, in KiB; a v5e has 128 MiB. By libtpu's figures a step
  // of Llama-3-8B on eight takes 594 ms with its own limit, 502 with 48 MiB (511 with 32, 520 with 64, 535 with 96). Not for v6e: 191 ms
  // as it is, 200 with 64 MiB.
  if (is_generation("v5 lite")) prefer("xla_tpu_scoped_vmem_limit_kib", int64_t{48 * 1024});
}

void add_platform_options(CompileOptions& options, const Client& client) {
  const Device& device = client.device(0);
  if (client.platform_name() != "cuda") return add_platform_options(options, client.platform_name(), device.kind, 0);
  add_platform_options(options, client.platform_name(), device.kind, client.memory(device).limit,
                       cuda_folder(client.plugin().path()).string());
}

void add_platform_options(CompileOptions& options, const Topology& topology, int64_t memory) {
  const std::string platform = topology.platform_name();
  add_platform_options(options, platform, topology.device_kind(), memory,
                       platform == "cuda" ? cuda_folder(topology.plugin().path()).string() : "");
}

std::string drop_refused(CompileOptions& options, std::string_view error) {
  constexpr std::string_view kRefusal = "No such compile option: '";
  const size_t at = error.find(kRefusal);
  if (at == std::string_view::npos) return "";
  std::string_view name = error.substr(at + kRefusal.size());
  name = name.substr(0, name.find('\''));
  const auto found = options.preferences.find(std::string(name));
  if (found == options.preferences.end()) return "";
  options.preferences.erase(found);
  return std::string(name);
}

}  // namespace gavel::pjrt
