#include "kernels/mlp.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "kernels/elementwise_rows.h"
#include "kernels/packed_weight.h"
#include "kernels/product.h"

namespace gavel {

namespace {

void check(const MlpShape& s, DType type, const MlpWeights& w) {
  if (s.hidden < 1 || s.intermediate < 1)
    fail("mlp: {} hidden and {} intermediate features: expected at least 1", s.hidden, s.intermediate);
  check_linear({s.rows, s.hidden, s.intermediate}, {type, w.gate.dtype, w.up.dtype, w.down.dtype});
}

size_t bytes_of(DType type, int64_t count) {
  return static_cast<size_t>(count) * byte_size(type);
}

/** The three weights, packed by all threads together: transposed as the forward pass multiplies with them, else as the
 * gradient does. */
struct PackedMlp {
  PackedWeight gate, up, down;

  PackedMlp(KernelCall& call, const MlpShape& s, DType type, const MlpWeights& w, bool transposed)
      : gate(type, transposed ? s.hidden : s.intermediate, transposed ? s.intermediate : s.hidden, call.threads()),
        up(gate),
        down(type, transposed ? s.intermediate : s.hidden, transposed ? s.hidden : s.intermediate, call.threads()) {
    auto* memory = static_cast<char*>(call.shared(gate.bytes() + up.bytes() + down.bytes()));
    gate.place(memory);
    up.place(memory + gate.bytes());
    down.place(memory + gate.bytes() + up.bytes());
    struct Part {
      const PackedWeight* to;
      ConstMatrix from;
      int64_t part;
    };
    std::vector<Part> parts;
    for (auto [to, from] : {std::pair{&gate, w.gate}, {&up, w.up}, {&down, w.down}})
      for (int64_t i = 0; i < to->parts(); ++i) parts.push_back({to, from, i});
    call.run(static_cast<int64_t>(parts.size()), [&](int64_t i, int) {
      const Part& part = parts[static_cast<size_t>(i)];
      part.to->pack(part.part, part.from, transposed);
    });
  }
};

/** Kernel by kernel, for processors that do not multiply the type of the arrays themselves. */
void forward_apart(const MlpShape& s, DType type, const void* h, const MlpWeights& w, void* y, void* gate,
                   void* up, Compute compute) {
  const int64_t wide = s.rows * s.intermediate;
  std::vector<char> normed(bytes_of(type, s.rows * s.hidden)), gated(bytes_of(type, wide)), own_gate, own_up;
  if (gate == nullptr) {
    own_gate.resize(gated.size());
    own_up.resize(gated.size());
    gate = own_gate.data();
    up = own_up.data();
  }
  rms_norm_forward(s.rows, s.hidden, type, h, nullptr, w.norm, w.eps, nullptr, normed.data());
  const LinearShape in{s.rows, s.hidden, s.intermediate}, out{s.rows, s.intermediate, s.hidden};
  linear_forward(in, {type, normed.data()}, w.gate, {}, {type, gate}, compute);
  linear_forward(in, {type, normed.data()}, w.up, {}, {type, up}, compute);
  swiglu_forward(wide, type, gate, up, gated.data());
  std::vector<float> sum(static_cast<size_t>(s.rows * s.hidden));
  linear_forward(out, {type, gated.data()}, w.down, {}, {DType::kF32, sum.data()}, compute);
  add_range(type, s.rows * s.hidden, h, sum.data(), y);
}

void gradient_apart(const MlpShape& s, DType type, const void* h, const MlpWeights& w, const void* gate,
                    const void* up, const void* dy, void* dh, Compute compute) {
  const int64_t wide = s.rows * s.intermediate, narrow = s.rows * s.hidden;
  std::vector<char> d_gated(bytes_of(type, wide)), d_gate(d_gated.size()), d_up(d_gated.size()),
      d_normed(bytes_of(type, narrow));
  std::vector<float> from_gate(static_cast<size_t>(narrow)), from_up(from_gate.size());
  const LinearShape in{s.rows, s.hidden, s.intermediate}, out{s.rows, s.intermediate, s.hidden};
  linear_input_gradient(out, {type, dy}, w.down, {type, d_gated.data()}, compute);
  swiglu_gradient(wide, type, gate, up, d_gated.data(), d_gate.data(), d_up.data());
  linear_input_gradient(in, {type, d_gate.data()}, w.gate, {DType::kF32, from_gate.data()}, compute);
  linear_input_gradient(in, {type, d_up.data()}, w.up, {DType::kF32, from_up.data()}, compute);
  for (size_t i = 0; i < from_gate.size(); ++i) from_gate[i] += from_up[i];
  copy_block(DType::kF32, from_gate.data(), narrow, type, d_normed.data(), narrow, 1, narrow);
  rms_norm_gradient(s.rows, s.hidden, type, h, w.norm, w.eps, d_normed.data(), dy, dh);
}

}  // namespace

void mlp_forward(const MlpShape& s, DType type, const void* h, const MlpWeights& w, void* y, void* gate,
                 void* up, Compute compute) {
  check(s, type, w);
  if ((gate == nullptr) != (up == nullptr)) fail("mlp: only one of gate and up is to be written");
  if (s.rows == 0) return;
  if (product_type(compute, type, w.gate.dtype) != type)
    return forward_apart(s, type, h, w, y, gate, up, compute);
  const std::vector<float> norm = widened_vector(w.norm, s.hidden);
  KernelCall call;
  const PackedMlp packed(call, s, type, w, true);
  const int64_t block = even_block(s.rows, call.threads());
  call.run((s.rows + block - 1) / block, [&](int64_t task, int worker) {
    const int64_t first = task * block, rows = std::min(block, s.rows - first);
    const int64_t narrow = rows * s.hidden, wide = rows * s.intermediate;
    char *normed = nullptr, *gated = nullptr, *own_gate = nullptr, *own_up = nullptr;
    float *sums = nullptr, *down = nullptr;
    auto carve = [&](Carver carver) {
      normed = carver.take<char>(static_cast<int64_t>(bytes_of(type, narrow)));
      gated = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      own_gate = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, wide)));
      own_up = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, wide)));
      sums = carver.take<float>(s.hidden);
      down = carver.take<float>(narrow);
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    const char* x = element(ConstMatrix(type, h), first * s.hidden);
    char* g = gate ? element(Matrix{type, gate}, first * s.intermediate) : own_gate;
    char* u = up ? element(Matrix{type, up}, first * s.intermediate) : own_up;
    rms_norm_rows(type, 0, rows, s.hidden, x, nullptr, norm.data(), w.eps, nullptr, normed, sums);
    packed.gate.multiply(rows, normed, s.hidden, {type, g});
    packed.up.multiply(rows, normed, s.hidden, {type, u});
    swiglu_range(type, wide, g, u, gated);
    packed.down.multiply(rows, gated, s.intermediate, {DType::kF32, down});
    add_range(type, narrow, x, down, element(Matrix{type, y}, first * s.hidden));
  });
}

void mlp_gradient(const MlpShape& s, DType type, const void* h, const MlpWeights& w, const void* gate,
                  const void* up, const void* dy, void* dh, Compute compute) {
  check(s, type, w);
  if (s.rows == 0) return;
  if (product_type(compute, type, w.gate.dtype) != type)
    return gradient_apart(s, type, h, w, gate, up, dy, dh, compute);
  const std::vector<float> norm = widened_vector(w.norm, s.hidden);
  KernelCall call;
  const PackedMlp packed(call, s, type, w, false);
  const int64_t block = even_block(s.rows, call.threads());
  call.run((s.rows + block - 1) / block, [&](int64_t task, int worker) {
    const int64_t first = task * block, rows = std::min(block, s.rows - first);
    const int64_t narrow = rows * s.hidden, wide = rows * s.intermediate;
    char *d_gated = nullptr, *d_gate = nullptr, *d_up = nullptr, *d_normed = nullptr;
    float* sum = nullptr;
    auto carve = [&](Carver carver) {
      d_gated = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      d_gate = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      d_up = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      d_normed = carver.take<char>(static_cast<int64_t>(bytes_of(type, narrow)));
      sum = carver.take<float>(narrow);
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    const char* out = element(ConstMatrix(type, dy), first * s.hidden);
    packed.down.multiply(rows, out, s.hidden, {type, d_gated});
    swiglu_gradient_range(type, wide, element(ConstMatrix(type, gate), first * s.intermediate),
                          element(ConstMatrix(type, up), first * s.intermediate), d_gated, d_gate, d_up);
    packed.gate.multiply(rows, d_gate, s.intermediate, {DType::kF32, sum});
    packed.up.multiply(rows, d_up, s.intermediate, {DType::kF32, sum}, true);
    copy_block(DType::kF32, sum, narrow, type, d_normed, narrow, 1, narrow);
    rms_norm_gradient_rows(type, 0, rows, s.hidden, element(ConstMatrix(type, h), first * s.hidden),
                           norm.data(), w.eps, d_normed, out, element(Matrix{type, dh}, first * s.hidden));
  });
}

}  // namespace gavel
