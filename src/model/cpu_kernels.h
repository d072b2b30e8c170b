#pragma once
#include "graph/graph.h"
#include "model/attention.h"

namespace gavel {

// The kernels of src/kernels as graph values with their gradients; what they compute equals the plain composition of
// the same name. float32 or bfloat16 values; weights of either type. Targets and operands: kernels/ffi_handlers.h.

/** x [T, in] times weight [out, in] transposed, plus bias [out] unless none. The weight is frozen. */
Value cpu_linear(const Value& x, const Value& weight, const Value& bias);
/** The same plus scale * (branch A^T) B^T: a [r, in], b [out, r] float32; branch [T, in] is x, or x after dropout. */
Value cpu_linear_lora(const Value& x, const Value& branch, const Value& weight, const Value& a, const Value& b,
                      const Value& bias, double scale);
/** As causal_attention. */
Value cpu_attention(const Value& q, const Value& k, const Value& v, const Value& segment_ids, double scale);
/** The same for the queries at `places` i32 [R] of one sequence: q [R, H, D], k and v [1, S, Hkv, D]. */
Value cpu_attention_at(const Value& q, const Value& k, const Value& v, const Value& segment_ids, const Value& places,
                       double scale);
Value cpu_rms_norm(const Value& x, const Value& weight, double eps);
/** silu(gate) * up */
Value cpu_swiglu(const Value& gate, const Value& up);
/** h [T, hidden] plus the feed-forward block of its norm; the weights are frozen and have no adapters. */
Value cpu_mlp(const Value& h, const Value& norm, double eps, const Value& gate, const Value& up, const Value& down);
/** As apply_rotary, of x [B, S, H, D]. */
Value cpu_rotary(const Value& x, const Rotary& rotary);

}  // namespace gavel
