// GFLOP/s of the kernels at SmolLM2-135M's shapes beside the machine's own limit: oneDNN on one thread a core
// with nothing else to do. Run with --benchmark_enable_random_interleaving --benchmark_repetitions=9 and
// compare the best of each: other work on the machine only ever makes a figure smaller.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "kernels/attention.h"
#include "kernels/convert.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/mlp.h"
#include "kernels/panels.h"
#include "kernels/thread_pool.h"

namespace gavel {
namespace {

constexpr int64_t kTokens = 4096;

std::vector<float> random_floats(int64_t size, uint64_t seed) {
  Random random(seed);
  std::vector<float> out(static_cast<size_t>(size));
  for (float& x : out) x = static_cast<float>(random.uniform() * 2 - 1);
  return out;
}

/** Random values, or zeros, of either type. */
class Array {
 public:
  Array(DType type, int64_t size, uint64_t seed) : type_(type), bytes_(static_cast<size_t>(size) * byte_size(type)) {
    const std::vector<float> values = random_floats(size, seed);
    if (type == DType::kF32)
      std::memcpy(bytes_.data(), values.data(), bytes_.size());
    else
      narrow(values.data(), reinterpret_cast<uint16_t*>(bytes_.data()), values.size());
  }
  void* data() { return bytes_.data(); }
  Matrix matrix() { return {type_, bytes_.data()}; }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }

 private:
  DType type_;
  std::vector<char> bytes_;
};

DType type_of(int64_t argument) {
  return argument == 0 ? DType::kF32 : DType::kBF16;
}

/** As programs have it: the type of the values is the type of the products. */
Compute compute_of(DType type) {
  return type == DType::kBF16 ? Compute::kBF16 : Compute::kF32;
}

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * static_cast<double>(state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
}

void limit(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t m = kTokens, n = 1536, k = 576;
  Array x(type, m * k, 1), w(type, n * k, 2), y(type, m * n, 3);
  KernelCall call;
  const int64_t block = 512;
  for (auto _ : state)
    call.run(m / block, [&](int64_t task, int) {
      const auto size = static_cast<int64_t>(byte_size(type));
      gemm(block, n, k, {type, static_cast<char*>(x.data()) + task * block * k * size, k}, {type, w.data(), n}, type,
           static_cast<char*>(y.data()) + task * block * n * size, n);
    });
  report(state, 2.0 * m * n * k);
}

void linear(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const LinearShape s{kTokens, state.range(1), state.range(2)};
  Array x(type, s.rows * s.in, 1), w(type, s.out * s.in, 2), y(type, s.rows * s.out, 3);
  for (auto _ : state) linear_forward(s, x.matrix(), w.matrix(), {}, y.matrix(), compute_of(type));
  report(state, 2.0 * static_cast<double>(s.rows * s.in * s.out));
}

void linear_dx(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const LinearShape s{kTokens, state.range(1), state.range(2)};
  Array dx(type, s.rows * s.in, 1), w(type, s.out * s.in, 2), dy(type, s.rows * s.out, 3);
  for (auto _ : state) linear_input_gradient(s, dy.matrix(), w.matrix(), dx.matrix(), compute_of(type));
  report(state, 2.0 * static_cast<double>(s.rows * s.in * s.out));
}

/** Counts the base product only, so that the figure shows what the adapter costs. */
void lora(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const LinearShape s{kTokens, state.range(1), state.range(2)};
  const int64_t rank = state.range(3);
  Array x(type, s.rows * s.in, 1), w(type, s.out * s.in, 2), y(type, s.rows * s.out, 3);
  Array a(DType::kF32, rank * s.in, 4), b(DType::kF32, rank * s.out, 5), xa(DType::kF32, s.rows * rank, 6);
  const Lora weights{rank, 2.0f, a.floats(), b.floats()};
  for (auto _ : state)
    linear_lora_forward(s, x.matrix(), x.matrix(), w.matrix(), {}, weights, y.matrix(), xa.floats(), compute_of(type));
  report(state, 2.0 * static_cast<double>(s.rows * s.in * s.out));
}

void lora_grad(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const LinearShape s{kTokens, state.range(1), state.range(2)};
  const int64_t rank = state.range(3);
  Array x(type, s.rows * s.in, 1), w(type, s.out * s.in, 2), dy(type, s.rows * s.out, 3), dx(type, s.rows * s.in, 7);
  Array a(DType::kF32, rank * s.in, 4), b(DType::kF32, rank * s.out, 5), xa(DType::kF32, s.rows * rank, 6);
  Array da = a, db = b;
  const Lora weights{rank, 2.0f, a.floats(), b.floats()};
  for (auto _ : state)
    linear_lora_gradients(s, dy.matrix(), x.matrix(), w.matrix(), xa.floats(), weights,
                          {dx.matrix(), {}, da.floats(), db.floats()}, compute_of(type));
  report(state, 2.0 * static_cast<double>(s.rows * s.in * s.out));
}

void mlp(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const bool keeps = state.range(1) != 0;
  const MlpShape s{kTokens, 576, 1536};
  Array h(type, s.rows * s.hidden, 1), norm(DType::kF32, s.hidden, 2), gate(type, s.hidden * s.intermediate, 3),
      up(type, s.hidden * s.intermediate, 4), down(type, s.hidden * s.intermediate, 5),
      y = h, g(type, s.rows * s.intermediate, 6), u = g;
  const MlpWeights weights{{norm.matrix(), 1e-5f}, gate.matrix(), up.matrix(), down.matrix()};
  for (auto _ : state)
    mlp_forward(s, type, h.data(), weights, y.data(), keeps ? g.data() : nullptr, keeps ? u.data() : nullptr,
                compute_of(type));
  report(state, 6.0 * static_cast<double>(s.rows * s.hidden * s.intermediate));
}

/** A model's worth of weights [1536, 576], so that they come from memory, packed one after the other into the same place. */
void packing(benchmark::State& state, DType codes, int64_t group, bool transposed) {
  constexpr int64_t kLayers = 64, kOut = 1536, kIn = 576;
  Array numbers(DType::kBF16, kLayers * kOut * kIn, 1), scales(DType::kF32, kLayers * kOut * kIn / 64, 2);
  const int64_t k = transposed ? kIn : kOut, n = transposed ? kOut : kIn;
  std::vector<float> memory(panel_bytes(DType::kBF16, k, n) / sizeof(float) + 16);
  void* to = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  for (auto _ : state)
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const int64_t first = layer * kOut * kIn;
      const int64_t bits = codes == DType::kBF16 ? 16 : codes == DType::kI8 ? 8 : 4;
      ConstMatrix w{codes, static_cast<const char*>(numbers.data()) + first * bits / 8};
      FrozenWeight weight =
          group == 0 ? FrozenWeight(w) : FrozenWeight(w, {DType::kF32, scales.floats() + first / group}, group);
      pack_panels(DType::kBF16, k, n, {weight, transposed}, to);
    }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kLayers * kOut * kIn);
}

struct AttentionArrays {
  AttentionShape s;
  DType type;
  ScoreRule rule;
  int64_t window;
  Array q, k, v, o, d_o, lse, dq, dk, dv;
  std::vector<int32_t> segments;

  /** Each sequence holds so many rows of one length. */
  AttentionArrays(const AttentionShape& shape, DType t, int64_t runs, ScoreRule scores = {0.125f}, int64_t width = 0)
      : s(shape),
        type(t),
        rule(scores),
        window(width),
        q(t, q_size(), 1),
        k(t, k_size(), 2),
        v(t, k_size(), 3),
        o(t, q_size(), 4),
        d_o(t, q_size(), 5),
        lse(DType::kF32, s.batch * s.heads * s.queries, 6),
        dq(t, q_size(), 7),
        dk(t, k_size(), 8),
        dv(t, k_size(), 9) {
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t i = 0; i < s.keys; ++i) segments.push_back(static_cast<int32_t>(1 + i * runs / s.keys));
    forward();
  }
  int64_t q_size() const { return s.batch * s.queries * s.heads * s.head_dim; }
  int64_t k_size() const { return s.batch * s.keys * s.kv_heads * s.head_dim; }
  void forward() { attention_forward(s, type, rule, q.data(), k.data(), v.data(), mask(), o.data(), lse.floats()); }
  void backward() {
    attention_backward(s, type, rule, q.data(), k.data(), v.data(), mask(), o.data(), lse.floats(), d_o.data(),
                       {dq.data(), dk.data(), dv.data()});
  }
  AttentionMask mask() const { return {.key_segments = segments.data(), .window = window}; }
  /** Of the scores that are seen: half of a row's, or a band of them. */
  double product_flops(int64_t runs) const {
    const double row = static_cast<double>(s.keys) / static_cast<double>(runs);
    const double band = window > 0 ? std::min(row, static_cast<double>(window)) : row;
    return 2 * static_cast<double>(s.batch * s.heads * s.queries * s.head_dim) * band * (1 - band / (2 * row));
  }
};

constexpr AttentionShape kSmolLm{8, 512, 512, 9, 3, 64};

void attention(benchmark::State& state) {
  AttentionArrays arrays(kSmolLm, type_of(state.range(0)), state.range(1));
  for (auto _ : state) arrays.forward();
  report(state, 2 * arrays.product_flops(state.range(1)));
}

void attention_grad(benchmark::State& state) {
  AttentionArrays arrays(kSmolLm, type_of(state.range(0)), state.range(1));
  for (auto _ : state) arrays.backward();
  report(state, 5 * arrays.product_flops(state.range(1)));
}

/** Half of the heads of a layer of Gemma 2 2B, one row of 2,048 tokens. */
AttentionArrays gemma(const benchmark::State& state) {
  return {{1, 2048, 2048, 4, 2, 256},
          type_of(state.range(0)),
          1,
          {0.0625f, static_cast<float>(state.range(2))},
          state.range(1)};
}

void attention_gemma(benchmark::State& state) {
  AttentionArrays arrays = gemma(state);
  for (auto _ : state) arrays.forward();
  report(state, 2 * arrays.product_flops(1));
}

void attention_gemma_grad(benchmark::State& state) {
  AttentionArrays arrays = gemma(state);
  for (auto _ : state) arrays.backward();
  report(state, 5 * arrays.product_flops(1));
}

void bandwidth(benchmark::State& state, int64_t elements, int arrays) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * elements * arrays *
                          static_cast<int64_t>(byte_size(type_of(state.range(0)))));
}

void norm(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t n = 576;
  Array x(type, kTokens * n, 1), w(DType::kF32, n, 2), y(type, kTokens * n, 3);
  for (auto _ : state) rms_norm_forward(kTokens, n, type, x.data(), {w.matrix(), 1e-5f}, y.data());
  bandwidth(state, kTokens * n, 2);
}

void norm_grad(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t n = 576;
  Array h(type, kTokens * n, 1), dy(type, kTokens * n, 2), w(DType::kF32, n, 3), dr(type, kTokens * n, 4),
      dh(type, kTokens * n, 5);
  for (auto _ : state)
    rms_norm_gradient(kTokens, n, type, h.data(), {w.matrix(), 1e-5f}, dy.data(), dr.data(), dh.data());
  bandwidth(state, kTokens * n, 4);
}

template <GateFunction kFunction>
void gated(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t n = kTokens * 1536;
  Array g(type, n, 1), u(type, n, 2), y(type, n, 3);
  for (auto _ : state) gated_forward(kFunction, n, type, g.data(), u.data(), y.data());
  bandwidth(state, n, 3);
}

template <GateFunction kFunction>
void gated_grad(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t n = kTokens * 1536;
  Array g(type, n, 1), u(type, n, 2), dy(type, n, 3), dg(type, n, 4), du(type, n, 5);
  for (auto _ : state) gated_gradient(kFunction, n, type, g.data(), u.data(), dy.data(), dg.data(), du.data());
  bandwidth(state, n, 5);
}

void rotary_q(benchmark::State& state) {
  const DType type = type_of(state.range(0));
  const int64_t n = kTokens * 576;
  Array x(type, n, 1), y(type, n, 2), cosine(DType::kF32, kTokens * 32, 3), sine(DType::kF32, kTokens * 32, 4);
  for (auto _ : state) rotary(kTokens, 9, 64, type, x.data(), cosine.floats(), sine.floats(), false, y.data());
  bandwidth(state, n, 2);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bf16", "in", "out"});
  for (int64_t bf16 : {1, 0})
    for (auto [in, out] : {std::pair<int64_t, int64_t>{576, 576}, {576, 192}, {576, 1536}, {1536, 576}})
      b->Args({bf16, in, out});
}
void lora_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bf16", "in", "out", "rank"});
  for (int64_t rank : {4, 16})
    for (auto [in, out] : {std::pair<int64_t, int64_t>{576, 576}, {576, 192}, {576, 1536}, {1536, 576}})
      b->Args({1, in, out, rank});
}
void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bf16", "sequences"});
  for (int64_t bf16 : {1, 0})
    for (int64_t runs : {1, 4}) b->Args({bf16, runs});
}
void gemma_rules(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bf16", "window", "softcap"});
  for (int64_t bf16 : {1, 0})
    for (auto [window, softcap] : {std::pair<int64_t, int64_t>{0, 0}, {512, 0}, {0, 50}, {512, 50}})
      b->Args({bf16, window, softcap});
}
void types(benchmark::internal::Benchmark* b) {
  b->ArgName("bf16")->Arg(1)->Arg(0);
}

BENCHMARK(limit)->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(linear)->Apply(shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(linear_dx)->Apply(shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(lora)->Apply(lora_shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(lora_grad)->Apply(lora_shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK_CAPTURE(packing, bf16, DType::kBF16, 0, true);
BENCHMARK_CAPTURE(packing, int8, DType::kI8, 64, true);
BENCHMARK_CAPTURE(packing, nf4, DType::kU8, 64, true);
BENCHMARK_CAPTURE(packing, bf16_dx, DType::kBF16, 0, false);
BENCHMARK_CAPTURE(packing, int8_dx, DType::kI8, 64, false);
BENCHMARK_CAPTURE(packing, nf4_dx, DType::kU8, 64, false);
BENCHMARK(mlp)->ArgNames({"bf16", "keeps"})->ArgsProduct({{1, 0}, {0, 1}})->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(attention)->Apply(attention_shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(attention_grad)->Apply(attention_shapes)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(attention_gemma)->Apply(gemma_rules)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(attention_gemma_grad)->Apply(gemma_rules)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(norm)->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(norm_grad)->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(gated<GateFunction::kSilu>)->Name("swiglu")->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(gated_grad<GateFunction::kSilu>)->Name("swiglu_grad")->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(gated<GateFunction::kGeluTanh>)->Name("geglu")->Apply(types)->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(gated_grad<GateFunction::kGeluTanh>)
    ->Name("geglu_grad")
    ->Apply(types)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(rotary_q)->Apply(types)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace gavel

BENCHMARK_MAIN();
