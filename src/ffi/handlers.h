#pragma once
#include <string>
#include <vector>

namespace gavel {

namespace pjrt {
class Plugin;
}

/** A function that XLA calls for `stablehlo.custom_call @target` with api_version = 4; `handler` is an
 * XLA_FFI_Handler* (typed void* to keep XLA's headers out), to be registered for the platform "Host". */
struct FfiHandler {
  std::string target;
  void* handler;
};

// clang-format off
/** Every custom call that this folder answers. Arrays are row-major; "..." is any number of dimensions, the same ones in
 * each array of a call; T is bf16 or f32, the same one in all arrays of a call that have it, and arrays marked with
 * another letter (W, Y) may be of either type on their own. Optional operands stand in brackets, last. All handlers check
 * types and shapes and return an error that names the target and what was found.
 *
 * target                          operands                                            results                 attributes
 * gavel_linear                    x[...,K]:T, w[N,K]:W, [bias[N]:W]                   y[...,N]:Y              compute
 * gavel_linear_dx                 dy[...,N]:T, w[N,K]:W                               dx[...,K]:Y             compute
 * gavel_linear_lora               x[...,K]:T, xl[...,K]:T, w[N,K]:W, a[r,K]:f32,      y[...,N]:Y,             scale, compute
 *                                 b[N,r]:f32, [bias[N]:W]                             xa[...,r]:f32
 * gavel_linear_lora_grad          dy[...,N]:T, x[...,K]:T, w[N,K]:W, xa[...,r]:f32,   dx:Y, da[r,K]:f32,      scale, compute
 *                                 a[r,K]:f32, b[N,r]:f32                              db[N,r]:f32
 * gavel_linear_lora_grad_split    the same, xl in place of x                          dx, dxl[...,K]:Y, da, db  scale, compute
 * gavel_linear_lora_grad_weights  the same                                            da, db                  scale, compute
 * gavel_attention                 q[B,S,H,D]:T, k[B,S,G,D]:T, v[B,S,G,D]:T,           o[B,S,H,D]:T,           scale,
 *                                 segments[B,S]:i32                                   lse[B,H,S]:f32          [window, softcap]
 *   with fewer queries            q[B,Q,H,D], k, v, segments[B,S]:i32,                o[B,Q,H,D]:T,           the same
 *                                 query_segments[B,Q]:i32, query_positions[B,Q]:i32   lse[B,H,Q]:f32
 * gavel_attention_grad            q, k, v, o[B,Q,H,D]:T, lse[B,H,Q]:f32,              dq:T, dk:T, dv:T        the same
 *                                 do[B,Q,H,D]:T, segments, [query_segments, query_positions]
 * gavel_rms_norm                  x[...,n]:T, weight[n]:W                             y[...,n]:T              eps, [offset]
 * gavel_rms_norm_grad             x[...,n]:T, weight[n]:W, dy[...,n]:T                dx[...,n]:T             eps, [offset]
 * gavel_head_norm                 x[...,H,D]:T, weight[D]:W                           y[...,H,D]:T            eps, [offset]
 * gavel_head_norm_grad            x[...,H,D]:T, weight[D]:W, dy[...,H,D]:T            dx[...,H,D]:T           eps, [offset]
 * gavel_swiglu                    gate[...]:T, up[...]:T                              y[...]:T
 * gavel_swiglu_grad               gate[...]:T, up[...]:T, dy[...]:T                   dgate:T, dup:T
 * gavel_geglu, gavel_geglu_grad   as gavel_swiglu, gavel_swiglu_grad
 * gavel_rotary                    x[...,H,D]:T, cos[...,D/2]:f32, sin[...,D/2]:f32    y[...,H,D]:T            inverse
 * gavel_mlp                       h[...,K]:T, norm[K]:W, gate[N,K]:W, up[N,K]:W,      y[...,K]:T,             eps, compute,
 *                                 down[K,N]:W                                         gate, up[...,N]:T       [offset, gelu_tanh]
 * gavel_mlp_forward_only          the same                                            y                       the same
 * gavel_mlp_grad                  the same, gate, up[...,N]:T, dy[...,K]:T            dh[...,K]:T             the same
 *
 * gavel_quantised_linear, …_linear_dx, …_linear_lora, …_linear_lora_grad, …_grad_split, …_grad_weights: as those above with
 *   codes in place of w, int8 [N,K] or NF4 in ui8 [N,K/2], and behind them scales[N,K/group]:W; or codes int8 [N,K] or of 4
 *   bits in ui8 [N,K/2], and behind them scales[N,K/block,numbers]:f16 (base/block_scales.h)
 * gavel_quantised_mlp, …_forward_only, …_grad: as those above with codes in place of gate, up and down, and behind the codes
 *   of down the scales of all three
 *
 * Attributes go into backend_config; those in brackets may be left out, which means 0. scale, eps, softcap, offset: f32.
 * compute: i32, 1 = bf16, 2 = float32 (Compute in linear.h). window: i32. inverse, gelu_tanh (else SiLU): i1. What each call
 * computes is told in linear.h, attention.h, elementwise.h and mlp.h; gavel_head_norm is gavel_rms_norm under another name,
 * since a mesh cuts it by heads. */
// clang-format on
std::vector<FfiHandler> cpu_ffi_handlers();

/** Registers all of them with a CPU plugin. To be called before a program with such calls is compiled, or loaded from the
 * compile cache; calling it again does no harm. Throws Error when the plugin takes no handlers (pjrt::has_ffi). */
void register_cpu_kernels(const pjrt::Plugin& plugin);

}  // namespace gavel
