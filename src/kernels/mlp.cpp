#include "kernels/mlp.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/column_product.h"
#include "kernels/elementwise_rows.h"
#include "kernels/packed_weight.h"
#include "kernels/product.h"

namespace gavel {

namespace {

void check(const MlpShape& s, DType type, const MlpWeights& w) {
  if (s.hidden < 1 || s.intermediate < 1)
    fail("mlp: {} hidden and {} intermediate features: expected at least 1", s.hidden, s.intermediate);
  check_linear({s.rows, s.hidden, s.intermediate}, {type});
  check_weight(w.gate, s.hidden);
  check_weight(w.up, s.hidden);
  check_weight(w.down, s.intermediate);
}

constexpr int64_t kRows = 96;  // that go through the block together
// Of gate and up that are multiplied, gated and forgotten at a time: with all of them a block of rows would not stay in the
// second-level cache.
constexpr int64_t kColumns = 256;

size_t bytes_of(DType type, int64_t count) {
  return static_cast<size_t>(count) * byte_size(type);
}

/** The three weights, packed by all threads together: transposed as the forward pass multiplies with them, else as the
 * gradient does. */
struct PackedMlp {
  PackedWeight gate, up, down;

  PackedMlp(KernelCall& call, const MlpShape& s, DType type, const MlpWeights& w, bool transposed)
      : gate(type, transposed ? s.hidden : s.intermediate, transposed ? s.intermediate : s.hidden),
        up(gate),
        down(type, gate.n(), gate.k()) {
    const Packing packings[] = {
        {&gate, {w.gate, transposed}}, {&up, {w.up, transposed}}, {&down, {w.down, transposed}}};
    pack_weights(call, packings);
  }
};

/** Whether the products can be of the arrays' own type, all in one kernel. */
bool is_fused(const MlpShape& s, DType type, Compute compute) {
  return product_type(compute, s.hidden) == type && product_type(compute, s.intermediate) == type;
}

/** Kernel by kernel, for arrays of a type that is not multiplied as it is. */
void forward_apart(const MlpShape& s, DType type, const void* h, const MlpWeights& w, void* y, void* gate, void* up,
                   Compute compute) {
  const int64_t wide = s.rows * s.intermediate;
  std::vector<char> normed(bytes_of(type, s.rows * s.hidden)), gated(bytes_of(type, wide)), own_gate, own_up;
  if (gate == nullptr) {
    own_gate.resize(gated.size());
    own_up.resize(gated.size());
    gate = own_gate.data();
    up = own_up.data();
  }
  rms_norm_forward(s.rows, s.hidden, type, h, w.norm, normed.data());
  const LinearShape in{s.rows, s.hidden, s.intermediate}, out{s.rows, s.intermediate, s.hidden};
  linear_forward(in, {type, normed.data()}, w.gate, {}, {type, gate}, compute);
  linear_forward(in, {type, normed.data()}, w.up, {}, {type, up}, compute);
  gated_forward(w.function, wide, type, gate, up, gated.data());
  const int64_t count = s.rows * s.hidden;
  std::vector<float> sum(static_cast<size_t>(count)), residual(sum.size());
  linear_forward(out, {type, gated.data()}, w.down, {}, {DType::kF32, sum.data()}, compute);
  copy_block(type, h, count, DType::kF32, residual.data(), count, 1, count);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += residual[i];
  copy_block(DType::kF32, sum.data(), count, type, y, count, 1, count);
}

void gradient_apart(const MlpShape& s, DType type, const void* h, const MlpWeights& w, const void* gate, const void* up,
                    const void* dy, void* dh, Compute compute) {
  const int64_t wide = s.rows * s.intermediate, narrow = s.rows * s.hidden;
  std::vector<char> d_gated(bytes_of(type, wide)), d_gate(d_gated.size()), d_up(d_gated.size()),
      d_normed(bytes_of(type, narrow));
  std::vector<float> from_gate(static_cast<size_t>(narrow)), from_up(from_gate.size());
  const LinearShape in{s.rows, s.hidden, s.intermediate}, out{s.rows, s.intermediate, s.hidden};
  linear_input_gradient(out, {type, dy}, w.down, {type, d_gated.data()}, compute);
  gated_gradient(w.function, wide, type, gate, up, d_gated.data(), d_gate.data(), d_up.data());
  linear_input_gradient(in, {type, d_gate.data()}, w.gate, {DType::kF32, from_gate.data()}, compute);
  linear_input_gradient(in, {type, d_up.data()}, w.up, {DType::kF32, from_up.data()}, compute);
  for (size_t i = 0; i < from_gate.size(); ++i) from_gate[i] += from_up[i];
  copy_block(DType::kF32, from_gate.data(), narrow, type, d_normed.data(), narrow, 1, narrow);
  rms_norm_gradient(s.rows, s.hidden, type, h, w.norm, d_normed.data(), dy, dh);
}

/** mlp_forward where rows are few: the intermediate features are shared out to the threads, then the hidden ones. */
void forward_by_columns(KernelCall& call, const MlpShape& s, DType type, const void* h, const MlpWeights& w, void* y,
                        void* gate, void* up) {
  const std::vector<float> norm = norm_weight(w.norm, s.hidden);
  char *normed = nullptr, *gated = nullptr;
  auto carve = [&](Carver carver) {
    normed = carver.take<char>(static_cast<int64_t>(bytes_of(type, s.rows * s.hidden)));
    gated = carver.take<char>(static_cast<int64_t>(bytes_of(type, s.rows * s.intermediate)));
    return carver.used();
  };
  carve(Carver(call.shared(carve(Carver(nullptr)))));
  const RowBlocks blocks(type, s.rows, call.threads());
  call.run(blocks.count(), [&](int64_t task, int) {
    const auto [first, rows] = blocks[task];
    const int64_t at = first * s.hidden;
    rms_norm_rows(type, 0, rows, s.hidden, element(ConstMatrix(type, h), at), norm.data(), w.norm.eps,
                  element(Matrix{type, normed}, at));
  });
  const std::vector<ColumnTask> tasks = column_tasks(s.rows, s.intermediate, call.threads());
  call.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const ColumnTask& task = tasks[static_cast<size_t>(index)];
    const int64_t columns = std::min(kPanelColumns, s.intermediate - task.column());
    const int64_t leading = gate ? s.intermediate : kPanelColumns, at = task.row * s.intermediate + task.column();
    char *panel = nullptr, *own_gate = nullptr, *own_up = nullptr;
    auto carve_task = [&](Carver carver) {
      panel = carver.take<char>(static_cast<int64_t>(panel_bytes(type, s.hidden, columns)));
      own_gate = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, task.rows * leading)));
      own_up = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, task.rows * leading)));
      return carver.used();
    };
    carve_task(Carver(call.local(worker, carve_task(Carver(nullptr)))));
    char* g = gate ? element(Matrix{type, gate}, at) : own_gate;
    char* u = up ? element(Matrix{type, up}, at) : own_up;
    for (const auto& [weight, to] : {std::pair(&w.gate, g), std::pair(&w.up, u)}) {
      pack_panel(type, s.hidden, s.intermediate, {*weight, true}, task.panel, panel);
      const PanelTerm term{s.hidden, element(ConstMatrix(type, normed), task.row * s.hidden), s.hidden, panel};
      panel_product(type, task.rows, columns, {&term, 1}, {{type, to}, leading, nullptr, {}});
    }
    gated_columns(w.function, type, task.rows, columns, g, u, leading, element(Matrix{type, gated}, at),
                  s.intermediate);
  });
  const ColumnTerm down{s.intermediate, gated, {w.down, true}};
  multiply_by_columns(call, type, s.rows, s.hidden, {&down, 1}, {type, y}, nullptr, {type, h});
}

}  // namespace

void mlp_forward(const MlpShape& s, DType type, const void* h, const MlpWeights& w, void* y, void* gate, void* up,
                 Compute compute) {
  check(s, type, w);
  if ((gate == nullptr) != (up == nullptr)) fail("mlp: only one of gate and up is to be written");
  if (s.rows == 0) return;
  if (!is_fused(s, type, compute)) return forward_apart(s, type, h, w, y, gate, up, compute);
  KernelCall call;
  if (goes_by_columns(type, s.rows, s.hidden, s.intermediate, call.threads()) &&
      goes_by_columns(type, s.rows, s.intermediate, s.hidden, call.threads()))
    return forward_by_columns(call, s, type, h, w, y, gate, up);
  const std::vector<float> norm = norm_weight(w.norm, s.hidden);
  const PackedMlp packed(call, s, type, w, true);
  const RowBlocks blocks(type, s.rows, call.threads(), kRows);
  call.run(blocks.count(), [&](int64_t task, int worker) {
    const auto [first, rows] = blocks[task];
    const int64_t narrow = rows * s.hidden, wide = rows * s.intermediate;
    // Where the caller does not want gate and up they live from one product to the next.
    const int64_t leading = gate ? s.intermediate : kColumns;
    char *normed = nullptr, *gated = nullptr, *own_gate = nullptr, *own_up = nullptr;
    auto carve = [&](Carver carver) {
      normed = carver.take<char>(static_cast<int64_t>(bytes_of(type, narrow)));
      gated = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      own_gate = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, rows * kColumns)));
      own_up = carver.take<char>(gate ? 0 : static_cast<int64_t>(bytes_of(type, rows * kColumns)));
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    const char* x = element(ConstMatrix(type, h), first * s.hidden);
    rms_norm_rows(type, 0, rows, s.hidden, x, norm.data(), w.norm.eps, normed);
    for (int64_t column = 0; column < s.intermediate; column += kColumns) {
      const int64_t columns = std::min(kColumns, s.intermediate - column), at = first * s.intermediate + column;
      char* g = gate ? element(Matrix{type, gate}, at) : own_gate;
      char* u = up ? element(Matrix{type, up}, at) : own_up;
      for (const auto& [weight, to] : {std::pair(&packed.gate, g), std::pair(&packed.up, u)}) {
        const PanelTerm term = weight->term(normed, s.hidden, column);
        panel_product(type, rows, columns, {&term, 1}, {{type, to}, leading, nullptr, {}});
      }
      gated_columns(w.function, type, rows, columns, g, u, leading, element(Matrix{type, gated}, column),
                    s.intermediate);
    }
    const PanelTerm term = packed.down.term(gated, s.intermediate);
    panel_product(type, rows, s.hidden, {&term, 1},
                  {{type, element(Matrix{type, y}, first * s.hidden)}, s.hidden, nullptr, {type, x}});
  });
}

void mlp_gradient(const MlpShape& s, DType type, const void* h, const MlpWeights& w, const void* gate, const void* up,
                  const void* dy, void* dh, Compute compute) {
  check(s, type, w);
  if (s.rows == 0) return;
  if (!is_fused(s, type, compute)) return gradient_apart(s, type, h, w, gate, up, dy, dh, compute);
  const std::vector<float> norm = norm_weight(w.norm, s.hidden);
  KernelCall call;
  const PackedMlp packed(call, s, type, w, false);
  const RowBlocks blocks(type, s.rows, call.threads(), kRows);
  call.run(blocks.count(), [&](int64_t task, int worker) {
    const auto [first, rows] = blocks[task];
    const int64_t narrow = rows * s.hidden, wide = rows * s.intermediate;
    char *d_gated = nullptr, *d_gate = nullptr, *d_up = nullptr, *d_normed = nullptr;
    auto carve = [&](Carver carver) {
      d_gated = carver.take<char>(static_cast<int64_t>(bytes_of(type, rows * kColumns)));
      d_gate = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      d_up = carver.take<char>(static_cast<int64_t>(bytes_of(type, wide)));
      d_normed = carver.take<char>(static_cast<int64_t>(bytes_of(type, narrow)));
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    const char* out = element(ConstMatrix(type, dy), first * s.hidden);
    for (int64_t column = 0; column < s.intermediate; column += kColumns) {
      const int64_t columns = std::min(kColumns, s.intermediate - column), at = first * s.intermediate + column;
      const PanelTerm term = packed.down.term(out, s.hidden, column);
      panel_product(type, rows, columns, {&term, 1}, {{type, d_gated}, kColumns, nullptr, {}});
      gated_gradient_columns(w.function, type, rows, columns, element(ConstMatrix(type, gate), at),
                             element(ConstMatrix(type, up), at), s.intermediate, d_gated, kColumns,
                             element(Matrix{type, d_gate}, column), element(Matrix{type, d_up}, column),
                             s.intermediate);
    }
    const PanelTerm terms[] = {packed.gate.term(d_gate, s.intermediate), packed.up.term(d_up, s.intermediate)};
    panel_product(type, rows, s.hidden, terms, {{type, d_normed}, s.hidden, nullptr, {}});
    rms_norm_gradient_rows(type, 0, rows, s.hidden, element(ConstMatrix(type, h), first * s.hidden), norm.data(),
                           w.norm.eps, d_normed, out, element(Matrix{type, dh}, first * s.hidden));
  });
}

}  // namespace gavel
