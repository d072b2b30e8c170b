#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/elementwise_rows.h"
#include "kernels/product.h"

// Without what later versions of Highway have above AVX3 (lower bits are better targets): bf16 is ours, in the AVX3 code.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | (HWY_AVX3 - 1))
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

/** body(i) for whole vectors of [0, size), tail(i) for what is left. */
template <class Body, class Tail>
HWY_INLINE void for_lanes(int64_t size, const Body& body, const Tail& tail) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) body(i);
  for (; i < size; ++i) tail(i);
}

template <class T>
HWY_INLINE void norm_row(int64_t size, const T* x, const float* weight, float eps, T* y) {
  const FloatTag d;
  Float squares = hn::Zero(d);
  float rest = 0;
  for_lanes(
      size,
      [&](int64_t i) {
        const Float v = load_lanes(d, x + i);
        squares = hn::MulAdd(v, v, squares);
      },
      [&](int64_t i) {
        const float v = to_float(x[i]);
        rest += v * v;
      });
  const float total = hn::GetLane(hn::SumOfLanes(d, squares)) + rest;
  const float inverse = 1 / std::sqrt(total / static_cast<float>(size) + eps);
  const Float factor = hn::Set(d, inverse);
  for_lanes(
      size,
      [&](int64_t i) {
        const Float v = hn::Mul(load_lanes(d, x + i), factor);
        store_lanes(d, hn::Mul(v, hn::LoadU(d, weight + i)), y + i);
      },
      [&](int64_t i) { from_float(to_float(x[i]) * inverse * weight[i], y + i); });
}

template <class T>
HWY_INLINE void norm_gradient_row(int64_t size, const T* h, const float* weight, float eps, const T* dy,
                                  const T* d_residual, T* dh) {
  const FloatTag d;
  Float squares = hn::Zero(d), products = hn::Zero(d);
  float rest = 0, rest_products = 0;
  for_lanes(
      size,
      [&](int64_t i) {
        const Float v = load_lanes(d, h + i);
        squares = hn::MulAdd(v, v, squares);
        products = hn::MulAdd(hn::Mul(load_lanes(d, dy + i), hn::LoadU(d, weight + i)), v, products);
      },
      [&](int64_t i) {
        const float v = to_float(h[i]);
        rest += v * v;
        rest_products += to_float(dy[i]) * weight[i] * v;
      });
  const auto n = static_cast<float>(size);
  const float inverse = 1 / std::sqrt((hn::GetLane(hn::SumOfLanes(d, squares)) + rest) / n + eps);
  const float along = hn::GetLane(hn::SumOfLanes(d, products)) + rest_products;
  // dh = r (g - h r^2 mean(g h)) with g = dy weight, r = 1 / rms.
  const float shrink = -along / n * inverse * inverse * inverse;
  const Float factor = hn::Set(d, inverse), back = hn::Set(d, shrink);
  for_lanes(
      size,
      [&](int64_t i) {
        const Float g = hn::Mul(load_lanes(d, dy + i), hn::LoadU(d, weight + i));
        Float out = hn::MulAdd(g, factor, hn::Mul(load_lanes(d, h + i), back));
        if (d_residual) out = hn::Add(out, load_lanes(d, d_residual + i));
        store_lanes(d, out, dh + i);
      },
      [&](int64_t i) {
        float out = to_float(dy[i]) * weight[i] * inverse + to_float(h[i]) * shrink;
        if (d_residual) out += to_float(d_residual[i]);
        from_float(out, dh + i);
      });
}

/** e^-x, at most 2^126. */
HWY_INLINE Float exp_of_minus(FloatTag d, Float x) {
  return exp2_lanes(d, hn::Min(hn::Set(d, 126.0f), hn::Mul(x, hn::Set(d, -1.44269504f))));
}
HWY_INLINE Float sigmoid(FloatTag d, Float x) {
  return hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), exp_of_minus(d, x)));
}

template <class T>
HWY_INLINE Float load_some(FloatTag d, const T* from, int64_t count) {
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load_lanes(d, lanes);
}
template <class T>
HWY_INLINE void store_some(FloatTag d, Float v, int64_t count, T* to) {
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(float)];
  store_lanes(d, v, lanes);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

/** body(load, store) once per vector; the last one may be partly filled. */
template <class Body>
HWY_INLINE void for_vectors(int64_t count, const Body& body) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    body([&](const auto* from) { return load_lanes(d, from + i); },
         [&](Float v, auto* to) { store_lanes(d, v, to + i); });
  if (i < count)
    body([&](const auto* from) { return load_some(d, from + i, count - i); },
         [&](Float v, auto* to) { store_some(d, v, count - i, to + i); });
}

/** A gate's value and its derivative, which costs nothing where it is not used. Both functions are g s(v), s being the
 * sigmoid: SiLU with v = g, and GELU's form with tanh with v = 2 sqrt(2 / pi) (g + 0.044715 g^3), since
 * (1 + tanh(x)) / 2 = s(2 x), which loses no digits where tanh is near -1. */
struct Gated {
  Float value, slope;
};

template <GateFunction kFunction>
HWY_INLINE Gated gate_lanes(FloatTag d, Float g) {
  if constexpr (kFunction == GateFunction::kSilu) {
    const Float s = sigmoid(d, g), silu = hn::Mul(g, s);
    // silu' = s (1 + g (1 - s)) = s + silu - silu s
    return {silu, hn::NegMulAdd(silu, s, hn::Add(s, silu))};
  } else {
    // v = g (c + c3 g^2). Beyond 16 the sigmoid is 0 or 1 for good, and larger cubes would leave float32.
    constexpr float kCubic = 0.0713548163f;
    const Float c = hn::Set(d, 1.59576912f), one = hn::Set(d, 1.0f);
    const Float near = limit_lanes(d, g, 16), square = hn::Mul(near, near);
    const Float e = exp_of_minus(d, hn::Mul(near, hn::MulAdd(square, hn::Set(d, kCubic), c)));
    const Float s = hn::Div(one, hn::Add(one, e));
    // gelu' = s + g s (1 - s) v', where g v' = g (c + 3 c3 g^2), and 1 - s = e s loses no digits where s is near 1.
    const Float turn = hn::Mul(near, hn::MulAdd(square, hn::Set(d, 3 * kCubic), c));
    return {hn::Mul(g, s), hn::MulAdd(hn::Mul(hn::Mul(e, s), s), turn, s)};
  }
}

template <GateFunction kFunction, class T>
HWY_INLINE void gated_row(int64_t count, const T* gate, const T* up, T* y) {
  const FloatTag d;
  for_vectors(count, [&](const auto& load, const auto& store) {
    store(hn::Mul(gate_lanes<kFunction>(d, load(gate)).value, load(up)), y);
  });
}

template <GateFunction kFunction, class T>
HWY_INLINE void gated_gradient_row(int64_t count, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up) {
  const FloatTag d;
  for_vectors(count, [&](const auto& load, const auto& store) {
    const Float u = load(up), dv = load(dy);
    const Gated gated = gate_lanes<kFunction>(d, load(gate));
    store(hn::Mul(hn::Mul(dv, u), gated.slope), d_gate);
    store(hn::Mul(dv, gated.value), d_up);
  });
}

template <class T>
HWY_INLINE void rotate_token(int64_t heads, int64_t half, const T* x, const float* cosine, const float* sine,
                             float sign, T* y) {
  const FloatTag d;
  const Float turn = hn::Set(d, sign);
  for (int64_t h = 0; h < heads; ++h) {
    const T *low = x + 2 * h * half, *high = low + half;
    T *out_low = y + 2 * h * half, *out_high = out_low + half;
    for_vectors(half, [&](const auto& load, const auto& store) {
      const Float a = load(low), b = load(high), c = load(cosine), s = hn::Mul(load(sine), turn);
      store(hn::NegMulAdd(b, s, hn::Mul(a, c)), out_low);
      store(hn::MulAdd(a, s, hn::Mul(b, c)), out_high);
    });
  }
}

/** f(T{}) with the type that the arrays hold. */
template <class F>
HWY_INLINE void with_type(DType type, const F& f) {
  if (type == DType::kF32)
    f(float());
  else if (kMayHaveBf16 && has_native_bf16())
    f(NativeBf16());
  else
    f(uint16_t());
}

void norm_rows(DType type, int64_t first, int64_t last, int64_t size, const void* x, const float* weight, float eps,
               void* y) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t at = first * size; at < last * size; at += size)
      norm_row(size, static_cast<const T*>(x) + at, weight, eps, static_cast<T*>(y) + at);
  });
}

void norm_gradient_rows(DType type, int64_t first, int64_t last, int64_t size, const void* h, const float* weight,
                        float eps, const void* dy, const void* d_residual, void* dh) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t at = first * size; at < last * size; at += size)
      norm_gradient_row(size, static_cast<const T*>(h) + at, weight, eps, static_cast<const T*>(dy) + at,
                        d_residual ? static_cast<const T*>(d_residual) + at : nullptr, static_cast<T*>(dh) + at);
  });
}

/** f(function, T{}): with_type, and the gate's function as a type. */
template <class F>
HWY_INLINE void with_function(GateFunction function, DType type, const F& f) {
  with_type(type, [&](auto tag) {
    if (function == GateFunction::kSilu)
      f(std::integral_constant<GateFunction, GateFunction::kSilu>(), tag);
    else
      f(std::integral_constant<GateFunction, GateFunction::kGeluTanh>(), tag);
  });
}

void gated_part(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate, const void* up,
                int64_t from, void* y, int64_t to) {
  with_function(function, type, [&](auto known, auto tag) {
    using T = decltype(tag);
    for (int64_t r = 0; r < rows; ++r)
      gated_row<known()>(columns, static_cast<const T*>(gate) + r * from, static_cast<const T*>(up) + r * from,
                         static_cast<T*>(y) + r * to);
  });
}

void gated_gradient_part(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate,
                         const void* up, int64_t from, const void* dy, int64_t gradient, void* d_gate, void* d_up,
                         int64_t to) {
  with_function(function, type, [&](auto known, auto tag) {
    using T = decltype(tag);
    for (int64_t r = 0; r < rows; ++r)
      gated_gradient_row<known()>(columns, static_cast<const T*>(gate) + r * from, static_cast<const T*>(up) + r * from,
                                  static_cast<const T*>(dy) + r * gradient, static_cast<T*>(d_gate) + r * to,
                                  static_cast<T*>(d_up) + r * to);
  });
}

void rotate_tokens(DType type, int64_t first, int64_t last, int64_t heads, int64_t half, const void* x,
                   const float* cosine, const float* sine, float sign, void* y) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t t = first; t < last; ++t) {
      const int64_t row = t * half, at = t * heads * half * 2;
      rotate_token(heads, half, static_cast<const T*>(x) + at, cosine + row, sine + row, sign, static_cast<T*>(y) + at);
    }
  });
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gavel {
namespace {

HWY_EXPORT(norm_rows);
HWY_EXPORT(norm_gradient_rows);
HWY_EXPORT(gated_part);
HWY_EXPORT(gated_gradient_part);
HWY_EXPORT(rotate_tokens);

void check(const char* what, DType type) {
  if (type != DType::kF32 && type != DType::kBF16)
    fail("{}: expected float32 or bfloat16, found {}", what, dtype_name(type));
}

/** body(first, last) over [0, count) in pieces of about 16,384 elements, `size` to a unit. */
template <class Body>
void in_pieces(KernelCall& call, int64_t count, int64_t size, const Body& body) {
  const int64_t piece = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, size));
  call.run((count + piece - 1) / piece,
           [&](int64_t task, int) { body(task * piece, std::min(count, (task + 1) * piece)); });
}

}  // namespace

std::vector<float> norm_weight(const RmsNorm& norm, int64_t size) {
  std::vector<float> weight = widened_vector(norm.weight, size);
  if (norm.offset != 0)
    for (float& w : weight) w += norm.offset;
  return weight;
}

void rms_norm_rows(DType type, int64_t first, int64_t last, int64_t size, const void* x, const float* weight, float eps,
                   void* y) {
  HWY_DYNAMIC_DISPATCH(norm_rows)(type, first, last, size, x, weight, eps, y);
}

void rms_norm_gradient_rows(DType type, int64_t first, int64_t last, int64_t size, const void* h, const float* weight,
                            float eps, const void* dy, const void* d_residual, void* dh) {
  HWY_DYNAMIC_DISPATCH(norm_gradient_rows)(type, first, last, size, h, weight, eps, dy, d_residual, dh);
}

void gated_columns(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate, const void* up,
                   int64_t from, void* y, int64_t to) {
  HWY_DYNAMIC_DISPATCH(gated_part)(function, type, rows, columns, gate, up, from, y, to);
}

void gated_gradient_columns(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate,
                            const void* up, int64_t from, const void* dy, int64_t gradient, void* d_gate, void* d_up,
                            int64_t to) {
  HWY_DYNAMIC_DISPATCH(gated_gradient_part)
  (function, type, rows, columns, gate, up, from, dy, gradient, d_gate, d_up, to);
}

void rms_norm_forward(int64_t rows, int64_t size, DType type, const void* x, const RmsNorm& norm, void* y) {
  check("rms_norm", type);
  if (size < 1) fail("rms_norm: rows of {}, expected at least 1", size);
  const std::vector<float> w = norm_weight(norm, size);
  KernelCall call;
  in_pieces(call, rows, size,
            [&](int64_t first, int64_t last) { rms_norm_rows(type, first, last, size, x, w.data(), norm.eps, y); });
}

void rms_norm_gradient(int64_t rows, int64_t size, DType type, const void* h, const RmsNorm& norm, const void* dy,
                       const void* d_residual, void* dh) {
  check("rms_norm", type);
  if (size < 1) fail("rms_norm: rows of {}, expected at least 1", size);
  const std::vector<float> w = norm_weight(norm, size);
  KernelCall call;
  in_pieces(call, rows, size, [&](int64_t first, int64_t last) {
    rms_norm_gradient_rows(type, first, last, size, h, w.data(), norm.eps, dy, d_residual, dh);
  });
}

void gated_forward(GateFunction function, int64_t count, DType type, const void* gate, const void* up, void* y) {
  check("gated activation", type);
  KernelCall call;
  in_pieces(call, count, 1, [&](int64_t first, int64_t last) {
    const auto at = [&](auto* array) { return element(ConstMatrix(type, array), first); };
    gated_columns(function, type, 1, last - first, at(gate), at(up), 0, element(Matrix{type, y}, first), 0);
  });
}

void gated_gradient(GateFunction function, int64_t count, DType type, const void* gate, const void* up, const void* dy,
                    void* d_gate, void* d_up) {
  check("gated activation", type);
  KernelCall call;
  in_pieces(call, count, 1, [&](int64_t first, int64_t last) {
    const auto at = [&](auto* array) { return element(ConstMatrix(type, array), first); };
    gated_gradient_columns(function, type, 1, last - first, at(gate), at(up), 0, at(dy), 0,
                           element(Matrix{type, d_gate}, first), element(Matrix{type, d_up}, first), 0);
  });
}

void rotary(int64_t tokens, int64_t heads, int64_t head_dim, DType type, const void* x, const float* cosine,
            const float* sine, bool inverse, void* y) {
  check("rotary", type);
  if (head_dim < 2 || head_dim % 2 != 0) fail("rotary: head dimension {}, expected an even one", head_dim);
  KernelCall call;
  in_pieces(call, tokens, heads * head_dim, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(rotate_tokens)
    (type, first, last, heads, head_dim / 2, x, cosine, sine, inverse ? -1.0f : 1.0f, y);
  });
}

}  // namespace gavel
#endif
