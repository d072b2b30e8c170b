#include "base/error.h"
#include "ffi/call.h"
#include "kernels/elementwise.h"

namespace gavel {
namespace {

struct Rows {
  int64_t rows, size;
};

Rows rows_of(const FfiArray& x) {
  if (x.shape.empty() || x.shape.back() < 1) fail("operand 0: expected rows, found shape {}", to_string(x.shape));
  return {x.size() / x.shape.back(), x.shape.back()};
}

RmsNorm norm_of(const FfiCall& call, size_t index, int64_t size) {
  const FfiArray& w = call.operand(index, {size});
  return {{w.dtype, w.data}, call.number("eps"), call.number("offset", 0)};
}

void rms_norm(const FfiCall& call) {
  call.expect(2, 2, 1);
  const FfiArray& x = call.operand(0);
  const auto [rows, size] = rows_of(x);
  rms_norm_forward(rows, size, x.dtype, x.data, norm_of(call, 1, size), call.result(0, x.shape, x.dtype).data);
}

void rms_norm_grad(const FfiCall& call) {
  call.expect(3, 3, 1);
  const FfiArray& h = call.operand(0);
  const auto [rows, size] = rows_of(h);
  rms_norm_gradient(rows, size, h.dtype, h.data, norm_of(call, 1, size), call.operand(2, h.shape, h.dtype).data,
                    nullptr, call.result(0, h.shape, h.dtype).data);
}

template <GateFunction kFunction>
void gated(const FfiCall& call) {
  call.expect(2, 2, 1);
  const FfiArray& gate = call.operand(0);
  gated_forward(kFunction, gate.size(), gate.dtype, gate.data, call.operand(1, gate.shape, gate.dtype).data,
                call.result(0, gate.shape, gate.dtype).data);
}

template <GateFunction kFunction>
void gated_grad(const FfiCall& call) {
  call.expect(3, 3, 2);
  const FfiArray& gate = call.operand(0);
  gated_gradient(kFunction, gate.size(), gate.dtype, gate.data, call.operand(1, gate.shape, gate.dtype).data,
                 call.operand(2, gate.shape, gate.dtype).data, call.result(0, gate.shape, gate.dtype).data,
                 call.result(1, gate.shape, gate.dtype).data);
}

void rotary_turn(const FfiCall& call) {
  call.expect(3, 3, 1);
  const FfiArray& x = call.operand(0);
  if (x.shape.size() < 2) fail("operand 0: expected [..., H, D], found {}", to_string(x.shape));
  const int64_t dim = x.shape.back(), heads = x.shape[x.shape.size() - 2];
  Shape table(x.shape.begin(), x.shape.end() - 2);
  const int64_t tokens = num_elements(table);
  table.push_back(dim / 2);
  const FfiArray &cosine = call.operand(1, table, DType::kF32), &sine = call.operand(2, table, DType::kF32);
  rotary(tokens, heads, dim, x.dtype, x.data, cosine.as<const float>(), sine.as<const float>(),
         call.integer("inverse") != 0, call.result(0, x.shape, x.dtype).data);
}

}  // namespace

const FfiKernel elementwise_kernels[kElementwiseKernels] = {
    {"gavel_rms_norm", rms_norm},
    {"gavel_rms_norm_grad", rms_norm_grad},
    {"gavel_head_norm", rms_norm},
    {"gavel_head_norm_grad", rms_norm_grad},
    {"gavel_swiglu", gated<GateFunction::kSilu>},
    {"gavel_swiglu_grad", gated_grad<GateFunction::kSilu>},
    {"gavel_geglu", gated<GateFunction::kGeluTanh>},
    {"gavel_geglu_grad", gated_grad<GateFunction::kGeluTanh>},
    {"gavel_rotary", rotary_turn},
};

}  // namespace gavel
