#pragma once
#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace gavel {

// The operations that programs are built of, beside loops (scan.h), calls of kernels (kernel.h), ops with a gradient rule of
// their own (custom_gradient.h) and sharding constraints (partition.h). Each function infers the result's type, and throws
// Error prefixed with the op's name and stating the shapes when the inputs don't fit. Semantics are StableHLO's
// (openxla.org/stablehlo/spec); there is no implicit broadcasting, apart from the overloads that take a C++ number.

// --- Sources (ops_source.cpp) ---------------------------------------------------------------------------------------

/** Every element `value`. */
Value full(Graph& graph, DType dtype, const Shape& shape, double value);
/** Like full, with the graph and type of `like`. */
Value full_like(const Value& like, double value);
/** A rank-1 constant. */
Value constant(Graph& graph, DType dtype, const std::vector<double>& values);
/** 0, 1, 2, … along `dimension`. */
Value iota(Graph& graph, DType dtype, const Shape& shape, int64_t dimension);

// --- Element by element (ops_elementwise.cpp); operands of one type -------------------------------------------------

Value add(const Value& a, const Value& b);
Value sub(const Value& a, const Value& b);
Value mul(const Value& a, const Value& b);
Value div(const Value& a, const Value& b);
Value maximum(const Value& a, const Value& b);
Value minimum(const Value& a, const Value& b);
Value add(const Value& a, double b);
Value mul(const Value& a, double b);
Value neg(const Value& a);
Value exp(const Value& a);
Value log(const Value& a);
/** log(1 + x), also where x is so small that 1 + x is 1. */
Value log1p(const Value& a);
Value sqrt(const Value& a);
Value rsqrt(const Value& a);
Value logistic(const Value& a);
Value tanh(const Value& a);
Value sin(const Value& a);
Value cos(const Value& a);
Value abs(const Value& a);

/** Integers and booleans; no gradient. */
Value bit_and(const Value& a, const Value& b);
Value bit_xor(const Value& a, const Value& b);
Value shift_right_logical(const Value& a, const Value& b);

enum class Compare { kEq, kNe, kLt, kLe, kGt, kGe };
/** Boolean result. */
Value compare(Compare direction, const Value& a, const Value& b);
/** predicate ? a : b; the predicate has the operands' shape. */
Value select(const Value& predicate, const Value& a, const Value& b);
/** Value conversion; between floats the gradient is converted back. Returns `a` when nothing changes. */
Value convert(const Value& a, DType dtype);
/** The value unchanged, taken for a constant by gradients: none flows back. */
Value stop_gradient(const Value& a);

// --- Shape (ops_shape.cpp) ------------------------------------------------------------------------------------------

Value reshape(const Value& a, const Shape& shape);
Value transpose(const Value& a, const std::vector<int64_t>& permutation);
/** Dimension i of `a` becomes dimension dimensions[i] of the result, repeated where its size is 1; so is `a` along the
 * result's other dimensions. */
Value broadcast(const Value& a, const Shape& shape, const std::vector<int64_t>& dimensions);
/** Repeats a scalar. */
Value broadcast_scalar(const Value& a, const Shape& shape);
/** Elements start..limit (exclusive) in every dimension. */
Value slice(const Value& a, const std::vector<int64_t>& start, const std::vector<int64_t>& limit);
/** slice in one dimension; negative dimensions count from the end. */
Value slice_dim(const Value& a, int64_t dimension, int64_t start, int64_t limit);
Value concatenate(const std::vector<Value>& values, int64_t dimension);
/** Zeros around: low and high counts per dimension, not negative. */
Value pad(const Value& a, const std::vector<int64_t>& low, const std::vector<int64_t>& high);
/** [L, …] to L values of shape […]. The gradient is one stack, so that it is linear in L. */
std::vector<Value> unstack(const Value& a);
/** The inverse of unstack. */
Value stack(const std::vector<Value>& values);

// --- Reductions and products (ops_dot.cpp) --------------------------------------------------------------------------

Value reduce_sum(const Value& a, const std::vector<int64_t>& dimensions);
/** The whole gradient goes to every element that equals the maximum. */
Value reduce_max(const Value& a, const std::vector<int64_t>& dimensions);

struct DotDimensions {
  std::vector<int64_t> lhs_batch, rhs_batch, lhs_contract, rhs_contract;
};
/** dot_general: the result is batch, then lhs's, then rhs's remaining dimensions, of `result` type (default:
 * the operands'). float32 operands ask for HIGHEST precision, because DEFAULT means bf16 or TF32 on some
 * devices. */
Value dot(const Value& lhs, const Value& rhs, const DotDimensions& dimensions);
Value dot(const Value& lhs, const Value& rhs, const DotDimensions& dimensions, DType result);

// --- Indexing (ops_index.cpp) ---------------------------------------------------------------------------------------

/** table [V, …], indices i32 of any shape [I…] → [I…, …]; indices outside are clamped. */
Value take(const Value& table, const Value& indices);
/** Zeros of shape [rows, …] plus updates [N, …] added at indices i32 [N]; take's gradient. */
Value scatter_add(const Value& indices, const Value& updates, int64_t rows);

// --- Compositions (compose.cpp) -------------------------------------------------------------------------------------

/** x * logistic(x) */
Value silu(const Value& a);
/** The Gaussian error linear unit in its approximation by tanh (Hendrycks & Gimpel, 2016). */
Value gelu_tanh(const Value& a);
/** Over the last dimension, with the maximum subtracted first, so that nothing overflows. */
Value softmax(const Value& a);
Value log_softmax(const Value& a);
/** The type in which norms and softmax of a `dtype` value are computed: float32, or float64 for float64. */
DType wide_type(DType dtype);
/** x / sqrt(mean(x²) + eps) * weight over the last dimension, in wide_type, result in x's dtype (Zhang &
 * Sennrich, 2019). x […, H], weight [H]. */
Value rms_norm(const Value& x, const Value& weight, double eps);
/** Repeats `vector` [H] over the leading dimensions of `shape` […, H]. */
Value broadcast_last(const Value& vector, const Shape& shape);
/** x […, in] times weight [out, in] transposed → […, out]. */
Value matmul_nt(const Value& x, const Value& weight);

}  // namespace gavel
