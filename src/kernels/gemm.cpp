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
  bool accumulate;
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

/** oneDNN 2 (Debian 12) describes an operation before the primitive, oneDNN 3 (Debian 13) at once. */
dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& c,
                                      const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), a, b, c, attributes};
#else
  return {dnnl::matmul::desc(a, b, c), attributes, cpu_engine()};
#endif
}

std::shared_ptr<const Primitive> create(const Key& key) {
  memory::desc a({key.m, key.k}, dnnl_type(key.type), memory::dims{key.a_leading, 1});
  memory::desc b({key.k, key.n}, dnnl_type(key.type), memory::dims{key.b_leading, 1});
  memory::desc c({key.m, key.n}, dnnl_type(key.c_type), memory::dims{key.c_leading, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (key.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  auto primitive = std::make_shared<Primitive>();
  primitive->description = describe(a, b, c, attributes);
  primitive->matmul = dnnl::matmul(primitive->description);
  return primitive;
}

/** Primitives are slow to make; at most 512 are kept. */
class PrimitiveCache {
 public:
  std::shared_ptr<const Primitive> get(const Key& key) {
    {
      std::shared_lock lock(mutex_);
      auto found = entries_.find(key);
      if (found != entries_.end()) return found->second;
    }
    // Made under the lock: all workers come here at once with the same shape.
    std::lock_guard lock(mutex_);
    auto found = entries_.find(key);
    if (found != entries_.end()) return found->second;
    if (entries_.size() >= 512) entries_.clear();
    return entries_.emplace(key, create(key)).first->second;
  }

 private:
  std::shared_mutex mutex_;
  std::map<Key, std::shared_ptr<const Primitive>> entries_;
};

/** Scratch of the calling thread. */
void* thread_scratch(size_t bytes) {
  thread_local std::vector<char> memory;
  if (memory.size() < bytes + 64) memory.resize(bytes + 64);
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
}

dnnl::stream& thread_stream() {
  // The pool's threads are the team: an OpenMP team inside each of them would oversubscribe the processor.
  omp_set_num_threads(1);
  thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

memory wrap(const memory::desc& desc, const void* data) {
  return memory(desc, cpu_engine(),
                const_cast<void*>(data));  // oneDNN's own interface; inputs stay as they are
}

void run(const Key& key, const void* a, const void* b, void* c) try {
  dnnl::stream& stream = thread_stream();
  static PrimitiveCache cache;
  std::shared_ptr<const Primitive> primitive = cache.get(key);
  const auto& description = primitive->description;
  void* scratch = thread_scratch(description.scratchpad_desc().get_size());
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, wrap(description.src_desc(), a)},
                                            {DNNL_ARG_WEIGHTS, wrap(description.weights_desc(), b)},
                                            {DNNL_ARG_DST, wrap(description.dst_desc(), c)},
                                            {DNNL_ARG_SCRATCHPAD, wrap(description.scratchpad_desc(), scratch)}};
  primitive->matmul.execute(stream, arguments);
  stream.wait();
} catch (const dnnl::error& error) {
  fail("gemm {} x {} x {} ({}): oneDNN says: {}", key.m, key.n, key.k, dtype_name(key.type), error.what());
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const GemmOperand& b, DType c_dtype, void* c,
          int64_t c_leading, bool accumulate) {
  const Key key{m, n, k, a.leading, b.leading, c_leading, a.dtype, c_dtype, accumulate};
  run(key, a.data, b.data, c);
}

}  // namespace gavel
