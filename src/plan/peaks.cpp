#include "plan/peaks.h"

#include <string>
#include <utility>

#include "plan/gpus.h"
#include "plan/targets.h"

namespace gavel {

namespace {

/** Whether one of the names is the other, or begins with it as a word: drivers add what the table does not say, and leave
 * out what it does. */
bool names_alike(std::string_view a, std::string_view b) {
  if (a.size() < b.size()) std::swap(a, b);
  return a.starts_with(b) && (a.size() == b.size() || a[b.size()] == ' ' || a[b.size()] == '-');
}

double peak_of(const Gpu& gpu, DType type) {
  if (type == DType::kBF16 && gpu.bf16 > 0) return gpu.bf16;
  return type == DType::kF16 ? gpu.f16 : gpu.f32;
}

struct TpuKind {
  std::string_view kind, target;
};
// As libtpu names a device, and a target with this device.
constexpr TpuKind kTpus[] = {{"TPU v3", "tpu-v3-8"},       {"TPU v4", "tpu-v4-8"},  {"TPU v5 lite", "tpu-v5e-1"},
                             {"TPU v5e", "tpu-v5e-1"},     {"TPU v5", "tpu-v5p-8"}, {"TPU v5p", "tpu-v5p-8"},
                             {"TPU v6 lite", "tpu-v6e-1"}, {"TPU v6e", "tpu-v6e-1"}};

}  // namespace

double device_peak_flops(std::string_view kind, DType type) {
  for (const Gpu& gpu : gpus())
    if (gpu.device_name == kind) return peak_of(gpu, type);
  for (const Gpu& gpu : gpus())
    if (names_alike(gpu.device_name, kind)) return peak_of(gpu, type);
  for (const TpuKind& tpu : kTpus)
    if (tpu.kind == kind) return find_target(std::string(tpu.target)).peak_flops(type);
  return 0;
}

}  // namespace gavel
