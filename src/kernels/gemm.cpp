#include "kernels/gemm.h"

#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "kernels/pack_units.h"

namespace gavel {
namespace {

using dnnl::memory;

struct Key {
  int64_t m, n, k, a_leading, b_leading, c_leading;
  DType type, c_type;
  bool a_transposed, b_transposed, b_packed, accumulate, bias;
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

/** Things that are slow to make, by what they are made from; at most 512. */
template <class Key, class Value>
class Cache {
 public:
  template <class Make>
  std::shared_ptr<const Value> get(const Key& key, const Make& make) {
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
    return entries_.emplace(key, make()).first->second;
  }

 private:
  std::shared_mutex mutex_;
  std::map<Key, std::shared_ptr<const Value>> entries_;
};

/** The layout that oneDNN chooses for b when it is free to; the same for every m, so that one copy serves all
 * blocks. */
memory::desc packed_layout(DType type, int64_t k, int64_t n) {
  static Cache<std::tuple<DType, int64_t, int64_t>, memory::desc> cache;
  return *cache.get({type, k, n}, [&] {
    const memory::data_type t = dnnl_type(type);
    memory::desc a({64, k}, t, memory::format_tag::ab), any({k, n}, t, memory::format_tag::any),
        c({64, n}, memory::data_type::f32, memory::format_tag::ab);
    dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, any, c), cpu_engine());
    return std::make_shared<memory::desc>(description.weights_desc());
  });
}

std::shared_ptr<const Primitive> create(const Key& key) {
  memory::desc a({key.m, key.k}, dnnl_type(key.type), strides(key.a_leading, key.a_transposed));
  memory::desc b = key.b_packed ? packed_layout(key.type, key.k, key.n)
                                : memory::desc({key.k, key.n}, dnnl_type(key.type),
                                               strides(key.b_leading, key.b_transposed));
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

void run(const Key& key, const void* a, const void* b, void* c, const float* bias) try {
  dnnl::stream& stream = thread_stream();
  static Cache<Key, Primitive> cache;
  std::shared_ptr<const Primitive> primitive = cache.get(key, [&] { return create(key); });
  const auto& description = primitive->description;
  void* scratch = thread_scratch(description.scratchpad_desc().get_size());
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, wrap(description.src_desc(), a)},
      {DNNL_ARG_WEIGHTS, wrap(description.weights_desc(), b)},
      {DNNL_ARG_DST, wrap(description.dst_desc(), c)},
      {DNNL_ARG_SCRATCHPAD, wrap(description.scratchpad_desc(), scratch)}};
  if (bias) arguments.emplace(DNNL_ARG_BIAS, wrap(description.bias_desc(), bias));
  primitive->matmul.execute(stream, arguments);
  stream.wait();
} catch (const dnnl::error& error) {
  fail("gemm {} x {} x {} ({}): oneDNN says: {}", key.m, key.n, key.k, dtype_name(key.type), error.what());
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const GemmOperand& b, DType c_dtype, void* c,
          int64_t c_leading, bool accumulate, const float* bias) {
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
                false,
                accumulate,
                bias != nullptr};
  run(key, a.data, b.data, c, bias);
}

namespace {

/** Whether the packed layout of b[k, n] is blocks of 64 columns by 16 units of 32 bits. */
bool packs_as_units(DType type, int64_t k, int64_t n) {
  const int64_t depth = type == DType::kBF16 ? 32 : 16;
  if (k % depth != 0 || n % 64 != 0) return false;
  const dnnl_memory_desc_t& layout = packed_layout(type, k, n).data;
  if (layout.format_kind != dnnl_blocked) return false;
  const dnnl_blocking_desc_t& blocks = layout.format_desc.blocking;
  const bool pairs = type == DType::kBF16;
  return blocks.inner_nblks == (pairs ? 3 : 2) && blocks.inner_blks[0] == 16 && blocks.inner_idxs[0] == 0 &&
         blocks.inner_blks[1] == 64 && blocks.inner_idxs[1] == 1 &&
         (!pairs || (blocks.inner_blks[2] == 2 && blocks.inner_idxs[2] == 0)) &&
         blocks.strides[0] == 64 * depth && blocks.strides[1] == 64 * k;
}

}  // namespace

size_t packed_bytes(DType type, int64_t k, int64_t n) {
  return packed_layout(type, k, n).get_size();
}

void pack_b(DType type, int64_t k, int64_t n, const GemmOperand& b, int64_t first, int64_t count,
            void* to) try {
  struct Packing {
    memory::desc from, to;
    dnnl::reorder reorder;
  };
  if (b.transposed && b.dtype == type && b.leading == k && first % 64 == 0 && packs_as_units(type, k, n))
    return pack_units(b.data, type == DType::kBF16 ? k / 2 : k, first, first + count, to);
  using PackingKey = std::tuple<DType, int64_t, int64_t, int64_t, int64_t, DType, int64_t, bool>;
  static Cache<PackingKey, Packing> cache;
  auto packing = cache.get({type, k, n, first, count, b.dtype, b.leading, b.transposed}, [&] {
    const memory::desc plain({k, n}, dnnl_type(b.dtype), strides(b.leading, b.transposed));
    memory::desc from = plain.submemory_desc({k, count}, {0, first});
    memory::desc packed = packed_layout(type, k, n).submemory_desc({k, count}, {0, first});
    dnnl::reorder::primitive_desc description(cpu_engine(), from, cpu_engine(), packed);
    return std::make_shared<Packing>(Packing{from, packed, dnnl::reorder(description)});
  });
  dnnl::stream& stream = thread_stream();
  memory from = wrap(packing->from, b.data), packed = wrap(packing->to, to);
  dnnl::reorder(packing->reorder).execute(stream, from, packed);
  stream.wait();
} catch (const dnnl::error& error) {
  fail("packing {} x {} ({} as {}): oneDNN says: {}", k, n, dtype_name(b.dtype), dtype_name(type),
       error.what());
}

void gemm_packed(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const void* b, DType c_dtype, void* c,
                 bool accumulate, const float* bias) {
  // oneDNN's fast products want whole rows of c.
  const Key key{m,     n,    k,          a.leading,      0, n, a.dtype, c_dtype, a.transposed,
                false, true, accumulate, bias != nullptr};
  run(key, a.data, b, c, bias);
}

}  // namespace gavel
