#include "base/error.h"
#include "ffi/call.h"
#include "kernels/mlp.h"

namespace gavel {
namespace {

struct Operands {
  MlpShape shape;
  MlpWeights weights;
  Shape wide;  // of gate and up
};

/** h, norm, gate, up, down as the first operands. */
Operands operands_of(const FfiCall& call) {
  const FfiArray &h = call.operand(0), &gate = call.operand(2);
  if (h.shape.empty() || gate.shape.size() != 2)
    fail("expected rows and a weight [N, K], found {} and {}", to_string(h.shape), to_string(gate.shape));
  const int64_t hidden = h.shape.back(), intermediate = gate.shape[0];
  const FfiArray& norm = call.operand(1, {hidden});
  call.operand(2, {intermediate, hidden});
  const FfiArray &up = call.operand(3, {intermediate, hidden}), &down = call.operand(4, {hidden, intermediate});
  Operands out;
  out.shape = {hidden == 0 ? 0 : h.size() / hidden, hidden, intermediate};
  out.weights = {{{norm.dtype, norm.data}, call.number("eps"), call.number("offset", 0)},
                 {gate.dtype, gate.data},
                 {up.dtype, up.data},
                 {down.dtype, down.data},
                 call.integer("gelu_tanh", 0) != 0 ? GateFunction::kGeluTanh : GateFunction::kSilu};
  out.wide = h.shape;
  out.wide.back() = intermediate;
  return out;
}

template <bool kSaves>
void mlp(const FfiCall& call) {
  call.expect(5, 5, kSaves ? 3 : 1);
  const Operands o = operands_of(call);
  const FfiArray& h = call.operand(0);
  void* y = call.result(0, h.shape, h.dtype).data;
  void* gate = kSaves ? call.result(1, o.wide, h.dtype).data : nullptr;
  void* up = kSaves ? call.result(2, o.wide, h.dtype).data : nullptr;
  mlp_forward(o.shape, h.dtype, h.data, o.weights, y, gate, up, compute_of(call));
}

void mlp_grad(const FfiCall& call) {
  call.expect(8, 8, 1);
  const Operands o = operands_of(call);
  const FfiArray& h = call.operand(0);
  mlp_gradient(o.shape, h.dtype, h.data, o.weights, call.operand(5, o.wide, h.dtype).data,
               call.operand(6, o.wide, h.dtype).data, call.operand(7, h.shape, h.dtype).data,
               call.result(0, h.shape, h.dtype).data, compute_of(call));
}

}  // namespace

const FfiKernel mlp_kernels[kMlpKernels] = {
    {"gavel_mlp", mlp<true>},
    {"gavel_mlp_forward_only", mlp<false>},
    {"gavel_mlp_grad", mlp_grad},
};

}  // namespace gavel
