#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/elementwise_rows.h"
#include "kernels/product.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
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

HWY_INLINE Float sigmoid(FloatTag d, Float x) {
  const Float power = hn::Min(hn::Set(d, 126.0f), hn::Mul(x, hn::Set(d, -1.44269504f)));
  return hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), exp2_lanes(d, power)));
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

template <class T>
HWY_INLINE void swiglu_row(int64_t count, const T* gate, const T* up, T* y) {
  const FloatTag d;
  for_vectors(count, [&](const auto& load, const auto& store) {
    const Float g = load(gate);
    store(hn::Mul(hn::Mul(g, sigmoid(d, g)), load(up)), y);
  });
}

template <class T>
HWY_INLINE void swiglu_gradient_row(int64_t count, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up) {
  const FloatTag d;
  for_vectors(count, [&](const auto& load, const auto& store) {
    const Float g = load(gate), u = load(up), dv = load(dy);
    const Float s = sigmoid(d, g), silu = hn::Mul(g, s);
    // silu' = s (1 + g (1 - s)) = s + silu - silu s
    const Float slope = hn::NegMulAdd(silu, s, hn::Add(s, silu));
    store(hn::Mul(hn::Mul(dv, u), slope), d_gate);
    store(hn::Mul(dv, silu), d_up);
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

void swiglu_part(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from, void* y,
                 int64_t to) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t r = 0; r < rows; ++r)
      swiglu_row(columns, static_cast<const T*>(gate) + r * from, static_cast<const T*>(up) + r * from,
                 static_cast<T*>(y) + r * to);
  });
}

void swiglu_gradient_part(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from,
                          const void* dy, int64_t gradient, void* d_gate, void* d_up, int64_t to) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t r = 0; r < rows; ++r)
      swiglu_gradient_row(columns, static_cast<const T*>(gate) + r * from, static_cast<const T*>(up) + r * from,
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
HWY_EXPORT(swiglu_part);
HWY_EXPORT(swiglu_gradient_part);
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

void rms_norm_rows(DType type, int64_t first, int64_t last, int64_t size, const void* x, const float* weight, float eps,
                   void* y) {
  HWY_DYNAMIC_DISPATCH(norm_rows)(type, first, last, size, x, weight, eps, y);
}

void rms_norm_gradient_rows(DType type, int64_t first, int64_t last, int64_t size, const void* h, const float* weight,
                            float eps, const void* dy, const void* d_residual, void* dh) {
  HWY_DYNAMIC_DISPATCH(norm_gradient_rows)(type, first, last, size, h, weight, eps, dy, d_residual, dh);
}

void swiglu_columns(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from, void* y,
                    int64_t to) {
  HWY_DYNAMIC_DISPATCH(swiglu_part)(type, rows, columns, gate, up, from, y, to);
}

void swiglu_gradient_columns(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from,
                             const void* dy, int64_t gradient, void* d_gate, void* d_up, int64_t to) {
  HWY_DYNAMIC_DISPATCH(swiglu_gradient_part)
  (type, rows, columns, gate, up, from, dy, gradient, d_gate, d_up, to);
}

void rms_norm_forward(int64_t rows, int64_t size, DType type, const void* x, ConstMatrix weight, float eps, void* y) {
  check("rms_norm", type);
  if (size < 1) fail("rms_norm: rows of {}, expected at least 1", size);
  const std::vector<float> w = widened_vector(weight, size);
  KernelCall call;
  in_pieces(call, rows, size,
            [&](int64_t first, int64_t last) { rms_norm_rows(type, first, last, size, x, w.data(), eps, y); });
}

void rms_norm_gradient(int64_t rows, int64_t size, DType type, const void* h, ConstMatrix weight, float eps,
                       const void* dy, const void* d_residual, void* dh) {
  check("rms_norm", type);
  if (size < 1) fail("rms_norm: rows of {}, expected at least 1", size);
  const std::vector<float> w = widened_vector(weight, size);
  KernelCall call;
  in_pieces(call, rows, size, [&](int64_t first, int64_t last) {
    rms_norm_gradient_rows(type, first, last, size, h, w.data(), eps, dy, d_residual, dh);
  });
}

void swiglu_forward(int64_t count, DType type, const void* gate, const void* up, void* y) {
  check("swiglu", type);
  KernelCall call;
  in_pieces(call, count, 1, [&](int64_t first, int64_t last) {
    const auto at = [&](auto* array) { return element(ConstMatrix(type, array), first); };
    swiglu_columns(type, 1, last - first, at(gate), at(up), 0, element(Matrix{type, y}, first), 0);
  });
}

void swiglu_gradient(int64_t count, DType type, const void* gate, const void* up, const void* dy, void* d_gate,
                     void* d_up) {
  check("swiglu", type);
  KernelCall call;
  in_pieces(call, count, 1, [&](int64_t first, int64_t last) {
    const auto at = [&](auto* array) { return element(ConstMatrix(type, array), first); };
    swiglu_gradient_columns(type, 1, last - first, at(gate), at(up), 0, at(dy), 0, element(Matrix{type, d_gate}, first),
                            element(Matrix{type, d_up}, first), 0);
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
