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

/** Operand `index`, a weight of so many rows and columns; of quantised ones the scales of all three stand behind the last. */
FrozenWeight weight_of(const FfiCall& call, size_t index, int64_t rows, int64_t columns, bool quantised) {
  if (!quantised) {
    const FfiArray& weight = call.operand(index, {rows, columns});
    return {weight.dtype, weight.data};
  }
  constexpr size_t kScalesBehind = 3;
  const FrozenWeight weight = quantised_weight(call, index, index + kScalesBehind);
  const Shape found = {call.operand(index).shape[0], inputs_of_codes(call.operand(index))};
  if (found != Shape{rows, columns})
    fail("operand {}: expected codes of a weight {}, found those of {}", index, to_string(Shape{rows, columns}),
         to_string(found));
  return weight;
}

/** h, norm, gate, up, down as the first operands. */
Operands operands_of(const FfiCall& call, bool quantised) {
  const FfiArray &h = call.operand(0), &gate = call.operand(2);
  if (h.shape.empty() || gate.shape.size() != 2)
    fail("expected rows and a weight [N, K], found {} and {}", to_string(h.shape), to_string(gate.shape));
  const int64_t hidden = h.shape.back(), intermediate = gate.shape[0];
  const FfiArray& norm = call.operand(1, {hidden});
  Operands out;
  out.shape = {hidden == 0 ? 0 : h.size() / hidden, hidden, intermediate};
  out.weights = {{{norm.dtype, norm.data}, call.number("eps"), call.number("offset", 0)},
                 weight_of(call, 2, intermediate, hidden, quantised),
                 weight_of(call, 3, intermediate, hidden, quantised),
                 weight_of(call, 4, hidden, intermediate, quantised),
                 call.integer("gelu_tanh", 0) != 0 ? GateFunction::kGeluTanh : GateFunction::kSilu};
  out.wide = h.shape;
  out.wide.back() = intermediate;
  return out;
}

template <bool kSaves, bool kQuantised>
void mlp(const FfiCall& call) {
  constexpr size_t kOperands = kQuantised ? 8 : 5;
  call.expect(kOperands, kOperands, kSaves ? 3 : 1);
  const Operands o = operands_of(call, kQuantised);
  const FfiArray& h = call.operand(0);
  void* y = call.result(0, h.shape, h.dtype).data;
  void* gate = kSaves ? call.result(1, o.wide, h.dtype).data : nullptr;
  void* up = kSaves ? call.result(2, o.wide, h.dtype).data : nullptr;
  mlp_forward(o.shape, h.dtype, h.data, o.weights, y, gate, up, compute_of(call));
}

template <bool kQuantised>
void mlp_grad(const FfiCall& call) {
  constexpr size_t kFirst = kQuantised ? 8 : 5;  // operand behind those of the forward pass
  call.expect(kFirst + 3, kFirst + 3, 1);
  const Operands o = operands_of(call, kQuantised);
  const FfiArray& h = call.operand(0);
  mlp_gradient(o.shape, h.dtype, h.data, o.weights, call.operand(kFirst, o.wide, h.dtype).data,
               call.operand(kFirst + 1, o.wide, h.dtype).data, call.operand(kFirst + 2, h.shape, h.dtype).data,
               call.result(0, h.shape, h.dtype).data, compute_of(call));
}

}  // namespace

const FfiKernel mlp_kernels[kMlpKernels] = {
    {"gavel_mlp", mlp<true, false>},
    {"gavel_mlp_forward_only", mlp<false, false>},
    {"gavel_mlp_grad", mlp_grad<false>},
    {"gavel_quantised_mlp", mlp<true, true>},
    {"gavel_quantised_mlp_forward_only", mlp<false, true>},
    {"gavel_quantised_mlp_grad", mlp_grad<true>},
};

}  // namespace gavel
