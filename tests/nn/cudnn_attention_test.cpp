// The text of cuDNN's attention, and which calls it takes. Values: kernel_registry_test.cpp, with the calls written out.
#include "nn/cudnn_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "emit/module.h"
#include "graph/gradients.h"
#include "graph/keep.h"
#include "graph/ops.h"
#include "graph/scan.h"
#include "nn/layers.h"

namespace gavel {
namespace {

using testing::HasSubstr;
using testing::Not;

/** Of one call: its operands are the graph's parameters. */
struct Case {
  Shape q = {4, 128, 8, 64};
  int64_t key_heads = 2;
  DType dtype = DType::kBF16;
  AttentionRule rule = {.scale = 0.125, .one_text = true};
};

class Program {
 public:
  explicit Program(const Case& c, int capability = 90) {
    Shape keys = c.q;
    keys[2] = c.key_heads;
    q_ = graph_.parameter(c.dtype, c.q, "q");
    k_ = graph_.parameter(c.dtype, keys, "k");
    v_ = graph_.parameter(c.dtype, keys, "v");
    segments_ = graph_.parameter(DType::kI32, {c.q[0], c.q[1]}, "segments");
    o_ = Kernels::of_platform("cuda", capability).try_call(AttentionCall{q_, k_, v_, segments_, c.rule}, {});
  }
  bool accepted() const { return static_cast<bool>(o_); }
  std::string forward() { return emit_module(graph_, {o_}); }
  std::string with_gradient(const Mesh& mesh = {}) {
    Value loss = reduce_sum(convert(o_, DType::kF32), {0, 1, 2, 3});
    const std::vector<Value> wrt = {q_, k_, v_};
    std::vector<Value> outputs = gradients(loss, wrt);
    outputs.push_back(o_);
    ModuleOptions options;
    if (mesh.devices() > 1) {
      ModuleSharding sharding{mesh, {}, {}};
      for (const Value& value : graph_.parameters()) sharding.parameters.emplace_back(value.shape().size());
      for (const Value& value : outputs) sharding.outputs.emplace_back(value.shape().size());
      options.sharding = sharding;
    }
    return emit_module(graph_, outputs, options);
  }

 private:
  Graph graph_;
  Value q_, k_, v_, segments_, o_;
};

/** The line with the call of a target. */
std::string line_of(const std::string& text, const std::string& target) {
  const size_t at = text.find("@" + target + "(");
  if (at == std::string::npos) return "no call of " + target + " in " + text;
  const size_t begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

/** What a call tells of the attention. */
nlohmann::json config_of(const std::string& line) {
  const std::string key = "backend_config = \"";
  const size_t begin = line.find(key) + key.size();
  std::string text = line.substr(begin, line.find('"', begin) - begin), json;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool quote = text.compare(i, 3, "\\22") == 0;
    json += quote ? '"' : text[i];
    if (quote) i += 2;
  }
  return nlohmann::json::parse(json).at("cudnn_fmha_backend_config");
}

TEST(CudnnAttention, ForwardIsAskedForSumsOnlyWhereAGradientReadsThem) {
  Program program({});
  const std::string alone = line_of(program.forward(), "__cudnn$fmhaSoftmax");
  EXPECT_THAT(alone, HasSubstr("(tensor<4x128x8x64xbf16>, tensor<4x128x2x64xbf16>, tensor<4x128x2x64xbf16>) -> "
                               "(tensor<4x8x128x64xbf16>, tensor<0xui8>)"));
  EXPECT_THAT(alone,
              HasSubstr("result_layouts = [dense<[3, 1, 2, 0]> : tensor<4xindex>, dense<[0]> : tensor<1xindex>]"));
  EXPECT_THAT(line_of(program.with_gradient(), "__cudnn$fmhaSoftmax"),
              HasSubstr("-> (tensor<4x8x128x64xbf16>, tensor<4x8x128xf32>, tensor<0xui8>)"));
}

/** [B, S, H, D] → [B, H, S, D] whose elements lie as before: such a transpose moves nothing. */
TEST(CudnnAttention, WhatIsGivenHeadsFirstLiesInMemoryAsTokensDo) {
  Program program({});
  const std::string text = program.with_gradient();
  const std::string line = line_of(text, "__cudnn$fmhaSoftmaxBackward");
  EXPECT_THAT(line, HasSubstr("api_version = 2 : i32"));
  EXPECT_THAT(line, HasSubstr("operand_layouts = [dense<[3, 2, 1, 0]> : tensor<4xindex>, dense<[3, 2, 1, 0]> : "
                              "tensor<4xindex>, dense<[3, 2, 1, 0]> : tensor<4xindex>, dense<[2, 1, 0]> : "
                              "tensor<3xindex>, dense<[3, 2, 1, 0]> : tensor<4xindex>, dense<[3, 2, 1, 0]> : "
                              "tensor<4xindex>]"));
  EXPECT_THAT(line, HasSubstr("result_layouts = [dense<[3, 1, 2, 0]> : tensor<4xindex>, dense<[3, 1, 2, 0]> : "
                              "tensor<4xindex>, dense<[3, 1, 2, 0]> : tensor<4xindex>, dense<[0]> : tensor<1xindex>]"));
  EXPECT_THAT(line, HasSubstr("-> (tensor<4x8x128x64xbf16>, tensor<4x2x128x64xbf16>, tensor<4x2x128x64xbf16>, "));
  for (const char* type :
       {"(tensor<4x8x128x64xbf16>) -> tensor<4x128x8x64xbf16>", "(tensor<4x2x128x64xbf16>) -> tensor<4x128x2x64xbf16>"})
    EXPECT_THAT(text, HasSubstr(std::string("dims = [0, 2, 1, 3] : ") + type));
}

TEST(CudnnAttention, TheConfigSaysWhatIsMultipliedWithWhat) {
  Program program({});
  const std::string text = program.with_gradient();
  const auto forward = config_of(line_of(text, "__cudnn$fmhaSoftmax")),
             backward = config_of(line_of(text, "__cudnn$fmhaSoftmaxBackward"));
  for (const auto& config : {forward, backward}) {
    EXPECT_EQ(config.at("fmha_scale"), 0.125);
    EXPECT_EQ(config.at("mask_type"), "CAUSAL");
    EXPECT_EQ(config.at("intermediate_tensor_shape").at("element_type"), "BF16");
    EXPECT_EQ(config.at("intermediate_tensor_shape").at("dimensions"), nlohmann::json({"4", "8", "128", "128"}));
    EXPECT_EQ(config.at("dropout_rate"), 0);
    EXPECT_EQ(config.at("force_deterministic"), false);
  }
  auto product = [](const nlohmann::json& config, const char* name) {
    const nlohmann::json& dims = config.at(std::string(name) + "_dot_dimension_numbers");
    return nlohmann::json({dims.at("lhs_contracting_dimensions"), dims.at("rhs_contracting_dimensions"),
                           dims.at("lhs_batch_dimensions"), dims.at("rhs_batch_dimensions")})
        .dump();
  };
  // Of q, k, v [B, S, H, D] and the scores [B, H, S, S].
  EXPECT_EQ(product(forward, "bmm1"), R"([["3"],["3"],["0","2"],["0","2"]])");              // q k^T
  EXPECT_EQ(product(forward, "bmm2"), R"([["3"],["1"],["0","1"],["0","2"]])");              // p v
  EXPECT_EQ(product(backward, "bmm1_grad_gemm1"), R"([["2"],["1"],["0","1"],["0","2"]])");  // ds^T q
  EXPECT_EQ(product(backward, "bmm1_grad_gemm2"), R"([["3"],["1"],["0","1"],["0","2"]])");  // ds k
  EXPECT_EQ(product(backward, "bmm2_grad_gemm1"), R"([["2"],["1"],["0","1"],["0","2"]])");  // p^T do
  EXPECT_EQ(product(backward, "bmm2_grad_gemm2"), R"([["3"],["3"],["0","2"],["0","2"]])");  // do v^T
  EXPECT_FALSE(forward.contains("bmm1_grad_gemm1_dot_dimension_numbers"));
  Case half;
  half.dtype = DType::kF16;
  EXPECT_EQ(config_of(line_of(Program(half).forward(), "__cudnn$fmhaSoftmax"))
                .at("intermediate_tensor_shape")
                .at("element_type"),
            "F16");
}

TEST(CudnnAttention, PackedRowsAndWindowsBringAMaskAndOneTextASequenceDoesNot) {
  Case packed;
  packed.rule.one_text = false;
  Program program(packed);
  const std::string text = program.with_gradient();
  EXPECT_THAT(line_of(text, "__cudnn$fmhaScaleBiasSoftmax"),
              HasSubstr("tensor<4x128x2x64xbf16>, tensor<4x1x128x128xbf16>) -> "));
  // The mask stands before the output.
  EXPECT_THAT(line_of(text, "__cudnn$fmhaScaleBiasSoftmaxBackward"),
              HasSubstr("tensor<4x8x128xf32>, tensor<4x128x8x64xbf16>, tensor<4x1x128x128xbf16>, "
                        "tensor<4x128x8x64xbf16>) -> "));
  Case windowed;
  windowed.rule.sliding_window = 100;
  EXPECT_THAT(Program(windowed).forward(), HasSubstr("fmhaScaleBiasSoftmax("));
  // No key of a row is outside of a window that is as long.
  windowed.rule.sliding_window = 128;
  EXPECT_EQ(Program(windowed).forward(), Program({}).forward());
}

TEST(CudnnAttention, DeterminismIsInTheConfigAndTakesItsWorkspace) {
  Case c;
  c.q = {1, 1024, 8, 64};
  Program plain(c);
  c.rule.deterministic = true;
  Program deterministic(c);
  const std::string one = line_of(plain.with_gradient(), "__cudnn$fmhaSoftmaxBackward"),
                    other = line_of(deterministic.with_gradient(), "__cudnn$fmhaSoftmaxBackward");
  EXPECT_EQ(config_of(other).at("force_deterministic"), true);
  constexpr int64_t kRows = 1024 * 8;
  EXPECT_THAT(one, HasSubstr(fmt::format("tensor<{}xui8>)", 4 * kRows * (3 * 64 + 1))));
  EXPECT_THAT(other, HasSubstr(fmt::format("tensor<{}xui8>)", 4 * kRows * (64 + 512 + 1))));
}

TEST(CudnnAttention, AScansGradientReadsWhatIsKeptOfItInsteadOfCallingItAgain) {
  for (bool kept : {false, true}) {
    Graph graph;
    Value x = graph.parameter(DType::kBF16, {4, 128, 8, 64}, "x"),
          segments = graph.parameter(DType::kI32, {4, 128}, "segments");
    auto body = [&](const ScanInput& in) {
      const Value& q = in.carries.front();
      const AttentionCall call{q, q, q, in.constants.front(), {.scale = 0.125, .one_text = true}};
      const Value o = Kernels::of_platform("cuda", 90).try_call(call, {});
      return ScanOutput{{kept ? keep(o) : o}, {}};
    };
    const Value last = scan(graph, 3, {x}, {}, {segments}, body).carries.front();
    const Value loss = reduce_sum(convert(last, DType::kF32), {0, 1, 2, 3});
    const std::string text = emit_module(graph, gradients(loss, {&x, 1}));
    auto calls = [&](const std::string& target) {
      size_t count = 0;
      for (size_t at = 0; (at = text.find("@" + target + "(", at)) != std::string::npos; ++at) ++count;
      return count;
    };
    EXPECT_EQ(calls("__cudnn$fmhaSoftmax"), kept ? 1 : 2);
    EXPECT_EQ(calls("__cudnn$fmhaSoftmaxBackward"), 1);
  }
}

TEST(CudnnAttention, OnAMeshEachDeviceCallsItForItsRowsAndHeads) {
  Case packed;
  packed.rule.one_text = false;
  const std::string text = Program(packed).with_gradient({2, 1, 2});
  const std::string line = line_of(text, "__cudnn$fmhaScaleBiasSoftmax");
  EXPECT_THAT(line, HasSubstr("(tensor<2x128x4x64xbf16>, tensor<2x128x1x64xbf16>, tensor<2x128x1x64xbf16>, "
                              "tensor<2x1x128x128xbf16>) -> (tensor<2x4x128x64xbf16>, tensor<2x4x128xf32>, "));
  EXPECT_EQ(config_of(line).at("intermediate_tensor_shape").at("dimensions"), nlohmann::json({"2", "4", "128", "128"}));
  const size_t call = text.find("@__cudnn$fmhaScaleBiasSoftmax("), region = text.rfind("sdy.manual_computation", call);
  ASSERT_NE(region, std::string::npos);
  EXPECT_EQ(text.substr(region, call - region).find("sdy.return"), std::string::npos);
}

TEST(CudnnAttention, WhatCudnnHasNoPlanForIsLeftToTheOtherForms) {
  EXPECT_TRUE(Program({}).accepted());
  auto accepts = [](auto change, int capability = 90) {
    Case c;
    change(c);
    return Program(c, capability).accepted();
  };
  for (int64_t d : {8, 80, 128, 256}) EXPECT_TRUE(accepts([&](Case& c) { c.q[3] = d; })) << d;
  for (int64_t d : {12, 100, 264, 512}) EXPECT_FALSE(accepts([&](Case& c) { c.q[3] = d; })) << d;
  EXPECT_TRUE(accepts([](Case& c) { c.dtype = DType::kF16; }));
  EXPECT_FALSE(accepts([](Case& c) { c.dtype = DType::kF32; }));
  EXPECT_FALSE(accepts([](Case& c) { c.rule.logit_softcapping = 50; }));
  EXPECT_FALSE(accepts([](Case& c) { c.q[1] = 1; }));
  EXPECT_TRUE(accepts([](Case& c) { c.rule.prefixes = true; }));
  for (int capability : {80, 86, 89, 100, 120}) {
    EXPECT_TRUE(accepts([](Case& c) { c.q[3] = 128; }, capability)) << capability;
    EXPECT_FALSE(accepts([](Case& c) { c.q[3] = 256; }, capability)) << capability;
  }
}

}  // namespace
}  // namespace gavel
