#include "kernels/attention.h"

#include "base/error.h"
#include "kernels/attention_blocks.h"
#include "kernels/convert.h"

// What is between the baseline and AVX2 would only cost compile time.
// Without what later versions of Highway have above AVX3 (lower bits are better targets): bf16 is ours, in the AVX3 code.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | (HWY_AVX3 - 1))
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention_backward-inl.h"
#include "kernels/attention_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

void forward(KernelCall& call, const AttentionJob& job, DType type) {
  if (type == DType::kF32)
    run_forward<float, false>(call, job);
  else if (kCanPair && has_native_bf16())
    run_forward<uint16_t, kCanPair>(call, job);
  else
    run_forward<uint16_t, false>(call, job);
}

void backward(KernelCall& call, const AttentionJob& job, DType type) {
  if (type == DType::kF32)
    run_backward<float, false>(call, job);
  else if (kCanPair && has_native_bf16())
    run_backward<uint16_t, kCanPair>(call, job);
  else
    run_backward<uint16_t, false>(call, job);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gavel {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void check(DType type, const ScoreRule& rule) {
  if (type != DType::kF32 && type != DType::kBF16)
    fail("attention: expected float32 or bfloat16, found {}", dtype_name(type));
  if (!(rule.scale > 0)) fail("attention: scale {} is not positive", rule.scale);
  if (!(rule.softcap >= 0)) fail("attention: soft cap {}, expected a positive one, or 0 for none", rule.softcap);
}

}  // namespace

void attention_forward(const AttentionShape& shape, DType type, const ScoreRule& rule, const void* q, const void* k,
                       const void* v, const AttentionMask& mask, void* o, float* lse) {
  check(type, rule);
  const AttentionPlan plan(shape, mask);
  const AttentionJob job{.shape = shape, .rule = rule, .plan = &plan, .q = q, .k = k, .v = v, .o = o, .lse = lse};
  KernelCall call;
  HWY_DYNAMIC_DISPATCH(forward)(call, job, type);
}

void attention_backward(const AttentionShape& shape, DType type, const ScoreRule& rule, const void* q, const void* k,
                        const void* v, const AttentionMask& mask, const void* o, const float* lse, const void* d_o,
                        const AttentionGradients& gradients) {
  check(type, rule);
  const AttentionPlan plan(shape, mask);
  const AttentionJob job{.shape = shape,
                         .rule = rule,
                         .plan = &plan,
                         .q = q,
                         .k = k,
                         .v = v,
                         .o = const_cast<void*>(o),
                         .lse = const_cast<float*>(lse),
                         .d_o = d_o,
                         .dq = gradients.dq,
                         .dk = gradients.dk,
                         .dv = gradients.dv};
  KernelCall call;
  HWY_DYNAMIC_DISPATCH(backward)(call, job, type);
}

}  // namespace gavel
#endif
