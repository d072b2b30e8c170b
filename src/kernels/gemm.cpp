#include "kernels/gemm.h"

#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace gavel {
namespace {

using dnnl::memory;

struct Key {
  int64_t m, n, k, a_leading, b_leading, c_leading;
  DType type, c_type;
  bool a_transposed, b_transposed, accumulate, bias;
  auto operator<=>(const Key&) const = default;
};

struct Primitive {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul matmul;
};

memory::data_type dnnl_type(DType type) {
  if (type == DType::kF32) return memory::data_type::f32;
  if (type == DType::kBF16) return memory::data_type::bf16;
  fail("gemm: expected float32 or bfloat16, found {}", dtype_name(type));
}

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::dims strides(int64_t leading, bool transposed) {
  return transposed ? memory::dims{1, leading} : memory::dims{leading, 1};
}

std::shared_ptr<const Primitive> create(const Key& key) {
  memory::desc a({key.m, key.k}, dnnl_type(key.type), strides(key.a_leading, key.a_transposed));
  memory::desc b({key.k, key.n}, dnnl_type(key.type), strides(key.b_leading, key.b_transposed));
  memory::desc c({key.m, key.n}, dnnl_type(key.c_type), strides(key.c_leading, false));
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (key.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  auto primitive = std::make_shared<Primitive>();
  if (key.bias) {
    memory::desc bias({1, key.n}, memory::data_type::f32, memory::format_tag::ab);
    primitive->description = {dnnl::matmul::desc(a, b, bias, c), attributes, cpu_engine()};
  } else {
    primitive->description = {dnnl::matmul::desc(a, b, c), attributes, cpu_engine()};
  }
  primitive->matmul = dnnl::matmul(primitive->description);
  return primitive;
}

std::shared_ptr<const Primitive> find_or_create(const Key& key) {
  constexpr size_t kMost = 512;
  static std::shared_mutex mutex;
  static std::map<Key, std::shared_ptr<const Primitive>> cache;
  {
    std::shared_lock lock(mutex);
    auto found = cache.find(key);
    if (found != cache.end()) return found->second;
  }
  // Made under the lock: all workers come here at once with the same shape.
  std::lock_guard lock(mutex);
  auto found = cache.find(key);
  if (found != cache.end()) return found->second;
  if (cache.size() >= kMost) cache.clear();
  return cache.emplace(key, create(key)).first->second;
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const GemmOperand& b, DType c_dtype, void* c,
          int64_t c_leading, bool accumulate, const float* bias) try {
  // The pool's threads are the team: an OpenMP team inside each of them would oversubscribe the processor.
  omp_set_num_threads(1);
  const Key key{m,
                n,
                k,
                a.leading,
                b.leading,
                c_leading,
                a.dtype,
                c_dtype,
                a.transposed,
                b.transposed,
                accumulate,
                bias != nullptr};
  std::shared_ptr<const Primitive> primitive = find_or_create(key);
  thread_local dnnl::stream stream(cpu_engine());
  thread_local std::vector<char> scratch;
  const auto& description = primitive->description;
  const size_t scratch_bytes = description.scratchpad_desc().get_size();
  if (scratch.size() < scratch_bytes + 64) scratch.resize(scratch_bytes + 64);
  auto aligned = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
  auto wrap = [](const memory::desc& desc, const void* data) {
    return memory(desc, cpu_engine(),
                  const_cast<void*>(data));  // oneDNN's own interface; inputs stay as they are
  };
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, wrap(description.src_desc(), a.data)},
      {DNNL_ARG_WEIGHTS, wrap(description.weights_desc(), b.data)},
      {DNNL_ARG_DST, wrap(description.dst_desc(), c)},
      {DNNL_ARG_SCRATCHPAD, wrap(description.scratchpad_desc(), reinterpret_cast<void*>(aligned))}};
  if (bias) arguments.emplace(DNNL_ARG_BIAS, wrap(description.bias_desc(), bias));
  primitive->matmul.execute(stream, arguments);
  stream.wait();
} catch (const dnnl::error& error) {
  fail("gemm {} x {} x {} ({}): oneDNN says: {}", m, n, k, dtype_name(a.dtype), error.what());
}

}  // namespace gavel
