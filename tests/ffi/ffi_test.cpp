#include <gmock/gmock.h>

#include <set>

#include "base/error.h"
#include "ffi/call.h"
#include "ffi/handlers.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/reference.h"

namespace gavel {
namespace {

using namespace testing_kernels;
using testing::HasSubstr;

/** A buffer as an argument of a custom call. */
struct Argument {
  Buffer buffer;
  Shape shape;
  FfiArray array() { return {buffer.type(), shape, buffer.data()}; }
};

Argument random_argument(DType type, Shape shape, uint64_t seed) {
  return {Buffer::random(type, num_elements(shape), seed), shape};
}
Argument result_argument(DType type, Shape shape) {
  return {Buffer(type, num_elements(shape)), shape};
}

using Attributes = std::vector<std::pair<std::string, std::variant<int64_t, double>>>;
/** compute = float32 */
const Attributes kInFloat32{{"compute", int64_t{2}}};

void run(const std::string& target, std::vector<FfiArray> operands, std::vector<FfiArray> results,
         Attributes attributes = {}) {
  const FfiCall call(std::move(operands), std::move(results), std::move(attributes));
  for (auto kernels : {std::span<const FfiKernel>(linear_kernels), std::span<const FfiKernel>(attention_kernels),
                       std::span<const FfiKernel>(elementwise_kernels)})
    for (const FfiKernel& kernel : kernels)
      if (kernel.target == target) return kernel.run(call);
  FAIL() << target;
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Ffi, EveryHandlerHasItsOwnNameAndFunction) {
  std::set<std::string> names;
  std::set<void*> functions;
  for (const FfiHandler& handler : cpu_ffi_handlers()) {
    EXPECT_THAT(handler.target, testing::StartsWith("gavel_"));
    EXPECT_TRUE(names.insert(handler.target).second) << handler.target;
    EXPECT_TRUE(functions.insert(handler.handler).second) << handler.target;
  }
  EXPECT_EQ(names.size(), 29u);
}

TEST(Ffi, LinearTakesABiasOrNone) {
  auto x = random_argument(DType::kF32, {2, 3, 5}, 1), w = random_argument(DType::kF32, {7, 5}, 2),
       bias = random_argument(DType::kF32, {7}, 3), y = result_argument(DType::kF32, {2, 3, 7});
  auto want = matmul(x.buffer.doubles(), w.buffer.doubles(), 6, 7, 5, false, true);
  run("gavel_linear", {x.array(), w.array()}, {y.array()}, kInFloat32);
  EXPECT_LT(relative_error(y.buffer, want), 2e-6);
  run("gavel_linear", {x.array(), w.array(), bias.array()}, {y.array()}, kInFloat32);
  for (size_t i = 0; i < want.size(); ++i) want[i] += bias.buffer[static_cast<int64_t>(i) % 7];
  EXPECT_LT(relative_error(y.buffer, want), 2e-6);
  auto dx = result_argument(DType::kF32, {2, 3, 5});
  run("gavel_linear_dx", {y.array(), w.array()}, {dx.array()}, kInFloat32);
  EXPECT_LT(relative_error(dx.buffer, matmul(y.buffer.doubles(), w.buffer.doubles(), 6, 5, 7)), 2e-6);
}

TEST(Ffi, LinearRefusesWhatDoesNotFit) {
  auto x = random_argument(DType::kF32, {3, 5}, 1), w = random_argument(DType::kF32, {7, 6}, 2),
       y = result_argument(DType::kF32, {3, 7});
  EXPECT_THAT(error_of([&] { run("gavel_linear", {x.array(), w.array()}, {y.array()}); }),
              HasSubstr("expected rows of 6, found shape [3, 5]"));
  EXPECT_THAT(error_of([&] { run("gavel_linear", {x.array()}, {y.array()}); }), HasSubstr("found 1"));
  auto right = random_argument(DType::kF32, {7, 5}, 2), bad = result_argument(DType::kF32, {3, 8});
  EXPECT_THAT(error_of([&] { run("gavel_linear", {x.array(), right.array()}, {bad.array()}, kInFloat32); }),
              HasSubstr("result 0: expected shape [3, 7], found [3, 8]"));
  EXPECT_THAT(
      error_of([&] { run("gavel_linear", {x.array(), right.array()}, {y.array()}, {{"compute", int64_t{9}}}); }),
      HasSubstr("found 9"));
  EXPECT_THAT(error_of([&] { run("gavel_linear", {x.array(), right.array()}, {y.array()}); }),
              HasSubstr("expected an integer attribute 'compute'"));
  FfiArray stack = right.array();
  stack.shape = {1, 7, 5};
  EXPECT_THAT(error_of([&] { run("gavel_linear", {x.array(), stack}, {y.array()}, kInFloat32); }),
              HasSubstr("operand 1: expected a weight [N, K], found [1, 7, 5]"));
}

TEST(Ffi, LoraHandlersCallTheKernels) {
  const LinearShape s{6, 5, 7};
  auto x = random_argument(DType::kF32, {2, 3, 5}, 1), xl = random_argument(DType::kF32, {2, 3, 5}, 2),
       w = random_argument(DType::kF32, {7, 5}, 3), a = random_argument(DType::kF32, {2, 5}, 4),
       b = random_argument(DType::kF32, {7, 2}, 5), dy = random_argument(DType::kF32, {2, 3, 7}, 6);
  auto y = result_argument(DType::kF32, {2, 3, 7}), xa = result_argument(DType::kF32, {2, 3, 2});
  const Attributes scale{{"scale", 0.5}, {"compute", int64_t{2}}};
  run("gavel_linear_lora", {x.array(), xl.array(), w.array(), a.array(), b.array()}, {y.array(), xa.array()}, scale);
  Buffer y2 = y.buffer, xa2 = xa.buffer;
  const Lora lora{2, 0.5f, a.buffer.floats(), b.buffer.floats()};
  const ConstMatrix xm{DType::kF32, x.buffer.data()}, xlm{DType::kF32, xl.buffer.data()},
      wm{DType::kF32, w.buffer.data()}, dym{DType::kF32, dy.buffer.data()};
  y.buffer = xa.buffer = Buffer(DType::kF32, 0);
  Buffer y3(DType::kF32, 42), xa3(DType::kF32, 12);
  linear_lora_forward(s, xm, xlm, wm, {}, lora, {DType::kF32, y3.data()}, xa3.floats(), Compute::kF32);
  EXPECT_TRUE(y2.same_bits(y3));
  EXPECT_TRUE(xa2.same_bits(xa3));

  Argument xa_in{xa3, {2, 3, 2}};
  auto dx = result_argument(DType::kF32, {2, 3, 5}), dxl = result_argument(DType::kF32, {2, 3, 5}),
       da = result_argument(DType::kF32, {2, 5}), db = result_argument(DType::kF32, {7, 2});
  const std::vector<FfiArray> operands{dy.array(), xl.array(), w.array(), xa_in.array(), a.array(), b.array()};
  run("gavel_linear_lora_grad_split", operands, {dx.array(), dxl.array(), da.array(), db.array()}, scale);
  Buffer dx2(DType::kF32, 30), dxl2(DType::kF32, 30), da2(DType::kF32, 10), db2(DType::kF32, 14);
  linear_lora_gradients(s, dym, xlm, wm, xa3.floats(), lora,
                        {{DType::kF32, dx2.data()}, {DType::kF32, dxl2.data()}, da2.floats(), db2.floats()},
                        Compute::kF32);
  EXPECT_TRUE(dx.buffer.same_bits(dx2));
  EXPECT_TRUE(dxl.buffer.same_bits(dxl2));
  EXPECT_TRUE(da.buffer.same_bits(da2));
  EXPECT_TRUE(db.buffer.same_bits(db2));
  run("gavel_linear_lora_grad", operands, {dx.array(), da.array(), db.array()}, scale);
  linear_lora_gradients(s, dym, xlm, wm, xa3.floats(), lora,
                        {{DType::kF32, dx2.data()}, {}, da2.floats(), db2.floats()}, Compute::kF32);
  EXPECT_TRUE(dx.buffer.same_bits(dx2));
  run("gavel_linear_lora_grad_weights", operands, {da.array(), db.array()}, scale);
  EXPECT_TRUE(da.buffer.same_bits(da2));
  EXPECT_THAT(error_of([&] { run("gavel_linear_lora_grad_weights", operands, {da.array(), db.array()}); }),
              HasSubstr("'scale'"));
}

TEST(Ffi, AttentionWithAndWithoutChosenQueries) {
  const AttentionShape s{1, 3, 70, 2, 1, 8};
  auto q = random_argument(DType::kF32, {1, 3, 2, 8}, 1), k = random_argument(DType::kF32, {1, 70, 1, 8}, 2),
       v = random_argument(DType::kF32, {1, 70, 1, 8}, 3), d_o = random_argument(DType::kF32, {1, 3, 2, 8}, 4);
  std::vector<int32_t> segments(70, 1), query_segments{1, 1, 1}, positions{69, 4, 65};
  const FfiArray seg{DType::kI32, {1, 70}, segments.data()}, qseg{DType::kI32, {1, 3}, query_segments.data()},
      pos{DType::kI32, {1, 3}, positions.data()};
  auto o = result_argument(DType::kF32, {1, 3, 2, 8}), lse = result_argument(DType::kF32, {1, 2, 3});
  auto dq = o, dk = result_argument(DType::kF32, {1, 70, 1, 8}), dv = dk;
  run("gavel_attention", {q.array(), k.array(), v.array(), seg, qseg, pos}, {o.array(), lse.array()}, {{"scale", 0.5}});
  run("gavel_attention_grad", {q.array(), k.array(), v.array(), o.array(), lse.array(), d_o.array(), seg, qseg, pos},
      {dq.array(), dk.array(), dv.array()}, {{"scale", 0.5}});
  const auto want = attention_reference(s, {0.5}, q.buffer.doubles(), k.buffer.doubles(), v.buffer.doubles(), segments,
                                        query_segments, positions, d_o.buffer.doubles());
  EXPECT_LT(relative_error(o.buffer, want.o), 2e-6);
  EXPECT_LT(relative_error(lse.buffer, want.lse), 2e-6);
  EXPECT_LT(relative_error(dq.buffer, want.dq), 4e-6);
  EXPECT_LT(relative_error(dk.buffer, want.dk), 4e-6);
  EXPECT_LT(relative_error(dv.buffer, want.dv), 4e-6);
  // With a window and a soft cap.
  const Attributes attributes{{"scale", 0.5}, {"window", int64_t{40}}, {"softcap", 0.75}};
  run("gavel_attention", {q.array(), k.array(), v.array(), seg, qseg, pos}, {o.array(), lse.array()}, attributes);
  run("gavel_attention_grad", {q.array(), k.array(), v.array(), o.array(), lse.array(), d_o.array(), seg, qseg, pos},
      {dq.array(), dk.array(), dv.array()}, attributes);
  const auto ruled = attention_reference(s, {0.5, 0.75, 40}, q.buffer.doubles(), k.buffer.doubles(), v.buffer.doubles(),
                                         segments, query_segments, positions, d_o.buffer.doubles());
  EXPECT_LT(relative_error(o.buffer, ruled.o), 2e-6);
  EXPECT_LT(relative_error(dq.buffer, ruled.dq), 4e-6);
  EXPECT_LT(relative_error(dk.buffer, ruled.dk), 4e-6);
  EXPECT_THAT(error_of([&] {
                run("gavel_attention", {q.array(), k.array(), v.array(), seg}, {o.array(), lse.array()},
                    {{"scale", 0.5}});
              }),
              HasSubstr("positions"));
  EXPECT_THAT(error_of([&] {
                run("gavel_attention", {q.array(), k.array(), v.array(), qseg}, {o.array(), lse.array()},
                    {{"scale", 0.5}});
              }),
              HasSubstr("expected shape [1, 70], found [1, 3]"));
}

TEST(Ffi, ElementwiseHandlersCallTheKernels) {
  const DType t = DType::kBF16;
  auto x = random_argument(t, {2, 3, 2, 8}, 1), r = random_argument(t, {2, 3, 2, 8}, 2),
       dy = random_argument(t, {2, 3, 2, 8}, 3), w = random_argument(DType::kF32, {8}, 4);
  auto y = result_argument(t, {2, 3, 2, 8}), h = y, other = y, other2 = y;
  const Attributes eps{{"eps", 1e-5}};
  const ConstMatrix weight{DType::kF32, w.buffer.data()};
  run("gavel_rms_norm", {x.array(), w.array()}, {y.array()}, eps);
  rms_norm_forward(12, 8, t, x.buffer.data(), {weight, 1e-5f}, other.buffer.data());
  EXPECT_TRUE(y.buffer.same_bits(other.buffer));
  run("gavel_rms_norm_grad", {x.array(), w.array(), dy.array()}, {y.array()}, eps);
  rms_norm_gradient(12, 8, t, x.buffer.data(), {weight, 1e-5f}, dy.buffer.data(), nullptr, other.buffer.data());
  EXPECT_TRUE(y.buffer.same_bits(other.buffer));
  // Gemma's norms, and those of heads.
  const RmsNorm offset{weight, 1e-5f, 1};
  run("gavel_head_norm", {x.array(), w.array()}, {y.array()}, {{"eps", 1e-5}, {"offset", 1.0}});
  rms_norm_forward(12, 8, t, x.buffer.data(), offset, other.buffer.data());
  EXPECT_TRUE(y.buffer.same_bits(other.buffer));
  run("gavel_head_norm_grad", {x.array(), w.array(), dy.array()}, {y.array()}, {{"eps", 1e-5}, {"offset", 1.0}});
  rms_norm_gradient(12, 8, t, x.buffer.data(), offset, dy.buffer.data(), nullptr, other.buffer.data());
  EXPECT_TRUE(y.buffer.same_bits(other.buffer));
  for (const auto& [target, function] : {std::pair<std::string, GateFunction>{"gavel_swiglu", GateFunction::kSilu},
                                         {"gavel_geglu", GateFunction::kGeluTanh}}) {
    run(target, {x.array(), r.array()}, {y.array()});
    gated_forward(function, 96, t, x.buffer.data(), r.buffer.data(), other.buffer.data());
    EXPECT_TRUE(y.buffer.same_bits(other.buffer)) << target;
    run(target + "_grad", {x.array(), r.array(), dy.array()}, {y.array(), h.array()});
    gated_gradient(function, 96, t, x.buffer.data(), r.buffer.data(), dy.buffer.data(), other.buffer.data(),
                   other2.buffer.data());
    EXPECT_TRUE(y.buffer.same_bits(other.buffer)) << target;
    EXPECT_TRUE(h.buffer.same_bits(other2.buffer)) << target;
  }
  // An attribute that may be left out is still one of its own type.
  EXPECT_THAT(error_of([&] {
                run("gavel_rms_norm", {x.array(), w.array()}, {y.array()}, {{"eps", 1e-5}, {"offset", int64_t{1}}});
              }),
              HasSubstr("expected a floating-point attribute 'offset'"));
  auto cosine = random_argument(DType::kF32, {2, 3, 4}, 5), sine = random_argument(DType::kF32, {2, 3, 4}, 6);
  run("gavel_rotary", {x.array(), cosine.array(), sine.array()}, {y.array()}, {{"inverse", int64_t{1}}});
  rotary(6, 2, 8, t, x.buffer.data(), cosine.buffer.floats(), sine.buffer.floats(), true, other.buffer.data());
  EXPECT_TRUE(y.buffer.same_bits(other.buffer));
  auto five = random_argument(DType::kF32, {5, 4}, 5);
  EXPECT_THAT(error_of([&] {
                run("gavel_rotary", {x.array(), five.array(), five.array()}, {y.array()}, {{"inverse", int64_t{1}}});
              }),
              HasSubstr("operand 1: expected shape [2, 3, 4], found [5, 4]"));
}

}  // namespace
}  // namespace gavel
