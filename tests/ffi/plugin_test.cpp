#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "ffi/handlers.h"
#include "kernels/reference.h"
#include "pjrt/client.h"

// The kernels as the CPU plugin calls them, beside the same in plain StableHLO.
namespace gavel {
namespace {

using namespace testing_kernels;

HostTensor random_tensor(DType type, Shape shape, uint64_t seed) {
  HostTensor out(type, shape);
  const Buffer values = Buffer::random(type, num_elements(shape), seed);
  std::memcpy(out.mutable_data(), values.data(), out.bytes());
  return out;
}

std::vector<double> doubles(const HostTensor& tensor) {
  const HostTensor wide = tensor.to(DType::kF32);
  const auto values = wide.as<float>();
  return {values.begin(), values.end()};
}

class PluginKernels : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the plugin is not built for ThreadSanitizer, which then reports its allocations";
#endif
    std::shared_ptr<const pjrt::Plugin> plugin;
    for (const auto& path : pjrt::plugin_candidates("cpu"))
      if (std::filesystem::exists(path)) plugin = pjrt::Plugin::load("cpu");
    if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched";
    register_cpu_kernels(*plugin);
    register_cpu_kernels(*plugin);
  }
  std::vector<HostTensor> run(const std::string& program, const std::vector<HostTensor>& inputs, int64_t devices = 1) {
    auto client = pjrt::Client::create(pjrt::Plugin::load("cpu"), {{"cpu_device_count", devices}});
    pjrt::CompileOptions options;
    options.num_partitions = devices;
    pjrt::Executable executable = client->compile(program, options);
    std::vector<std::vector<pjrt::Buffer>> buffers;
    std::vector<pjrt::Executable::Arguments> arguments;
    for (int64_t d = 0; d < devices; ++d) {
      auto& own = buffers.emplace_back();
      for (const HostTensor& input : inputs) own.push_back(client->to_device(input, static_cast<size_t>(d)));
    }
    for (auto& own : buffers) {
      auto& list = arguments.emplace_back();
      for (auto& buffer : own) list.push_back(&buffer);
    }
    auto outputs = executable.execute(arguments);
    std::vector<HostTensor> out;
    for (auto& device : outputs)
      for (auto& buffer : device) out.push_back(buffer.to_host());
    return out;
  }
};

constexpr const char* kLoraProgram = R"(
module @lora {
  func.func public @main(%x: tensor<2x40x24x{t}>, %w: tensor<48x24x{t}>, %a: tensor<4x24xf32>, %b: tensor<48x4xf32>, %dy: tensor<2x40x48x{t}>)
      -> (tensor<2x40x48x{t}>, tensor<2x40x4xf32>, tensor<2x40x24x{t}>, tensor<4x24xf32>, tensor<48x4xf32>) {{
    %0:2 = stablehlo.custom_call @gavel_linear_lora(%x, %x, %w, %a, %b) {{api_version = 4 : i32, backend_config = {{scale = 5.000000e-01 : f32, compute = {c} : i32}}}}
      : (tensor<2x40x24x{t}>, tensor<2x40x24x{t}>, tensor<48x24x{t}>, tensor<4x24xf32>, tensor<48x4xf32>) -> (tensor<2x40x48x{t}>, tensor<2x40x4xf32>)
    %1:3 = stablehlo.custom_call @gavel_linear_lora_grad(%dy, %x, %w, %0#1, %a, %b) {{api_version = 4 : i32, backend_config = {{scale = 5.000000e-01 : f32, compute = {c} : i32}}}}
      : (tensor<2x40x48x{t}>, tensor<2x40x24x{t}>, tensor<48x24x{t}>, tensor<2x40x4xf32>, tensor<4x24xf32>, tensor<48x4xf32>) -> (tensor<2x40x24x{t}>, tensor<4x24xf32>, tensor<48x4xf32>)
    return %0#0, %0#1, %1#0, %1#1, %1#2 : tensor<2x40x48x{t}>, tensor<2x40x4xf32>, tensor<2x40x24x{t}>, tensor<4x24xf32>, tensor<48x4xf32>
  }}
}}
)";

TEST_F(PluginKernels, LoraForwardAndGradients) {
  std::string text = kLoraProgram;
  text.replace(text.find("module @lora {"), 14, "module @lora {{");
  for (DType type : {DType::kF32, DType::kBF16}) {
    const auto x = random_tensor(type, {2, 40, 24}, 1), w = random_tensor(type, {48, 24}, 2),
               a = random_tensor(DType::kF32, {4, 24}, 3), b = random_tensor(DType::kF32, {48, 4}, 4),
               dy = random_tensor(type, {2, 40, 48}, 5);
    const auto out = run(fmt::format(fmt::runtime(text), fmt::arg("t", stablehlo_name(type)),
                                     fmt::arg("c", type == DType::kBF16 ? 1 : 2)),
                         {x, w, a, b, dy});
    const auto xa = matmul(doubles(x), doubles(a), 80, 4, 24, false, true);
    auto y = matmul(doubles(x), doubles(w), 80, 48, 24, false, true);
    const auto update = matmul(xa, doubles(b), 80, 48, 4, false, true);
    for (size_t i = 0; i < y.size(); ++i) y[i] += 0.5 * update[i];
    const auto u = matmul(doubles(dy), doubles(b), 80, 4, 48);
    auto dx = matmul(doubles(dy), doubles(w), 80, 24, 48);
    const auto back = matmul(u, doubles(a), 80, 24, 4);
    for (size_t i = 0; i < dx.size(); ++i) dx[i] += 0.5 * back[i];
    auto da = matmul(u, doubles(x), 4, 24, 80, true), db = matmul(doubles(dy), xa, 48, 4, 80, true);
    for (double& v : da) v *= 0.5;
    for (double& v : db) v *= 0.5;
    const std::vector<double>* wanted[] = {&y, &xa, &dx, &da, &db};
    for (size_t i = 0; i < 5; ++i) {
      Buffer found(out[i].dtype(), out[i].size());
      std::memcpy(found.data(), out[i].data(), out[i].bytes());
      EXPECT_LT(relative_error(found, *wanted[i]), tolerance(type)) << i;
    }
  }
}

constexpr const char* kAttentionProgram = R"(
module @attention {
  func.func public @main(%q: tensor<2x70x4x8xf32>, %k: tensor<2x70x2x8xf32>, %v: tensor<2x70x2x8xf32>, %s: tensor<2x70xi32>, %do: tensor<2x70x4x8xf32>)
      -> (tensor<2x70x4x8xf32>, tensor<2x4x70xf32>, tensor<2x70x4x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x2x8xf32>) {
    %0:2 = stablehlo.custom_call @gavel_attention(%q, %k, %v, %s) {api_version = 4 : i32, backend_config = {scale = 2.500000e-01 : f32}}
      : (tensor<2x70x4x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70xi32>) -> (tensor<2x70x4x8xf32>, tensor<2x4x70xf32>)
    %1:3 = stablehlo.custom_call @gavel_attention_grad(%q, %k, %v, %0#0, %0#1, %do, %s) {api_version = 4 : i32, backend_config = {scale = 2.500000e-01 : f32}}
      : (tensor<2x70x4x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x4x8xf32>, tensor<2x4x70xf32>, tensor<2x70x4x8xf32>, tensor<2x70xi32>)
      -> (tensor<2x70x4x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x2x8xf32>)
    return %0#0, %0#1, %1#0, %1#1, %1#2 : tensor<2x70x4x8xf32>, tensor<2x4x70xf32>, tensor<2x70x4x8xf32>, tensor<2x70x2x8xf32>, tensor<2x70x2x8xf32>
  }
}
)";

TEST_F(PluginKernels, AttentionForwardAndGradients) {
  const AttentionShape s{2, 70, 70, 4, 2, 8};
  const auto q = random_tensor(DType::kF32, {2, 70, 4, 8}, 1), k = random_tensor(DType::kF32, {2, 70, 2, 8}, 2),
             v = random_tensor(DType::kF32, {2, 70, 2, 8}, 3), d_o = random_tensor(DType::kF32, {2, 70, 4, 8}, 4);
  std::vector<int32_t> segments, positions;
  for (int32_t i = 0; i < 140; ++i) {
    segments.push_back(i % 70 < 30 ? 1 : i % 70 < 66 ? 2 : 0);
    positions.push_back(i % 70);
  }
  const auto out = run(kAttentionProgram, {q, k, v, HostTensor::from(segments, {2, 70}), d_o});
  const auto want =
      attention_reference(s, {0.25}, doubles(q), doubles(k), doubles(v), segments, segments, positions, doubles(d_o));
  const std::vector<double>* wanted[] = {&want.o, &want.lse, &want.dq, &want.dk, &want.dv};
  for (size_t i = 0; i < 5; ++i) {
    Buffer found(out[i].dtype(), out[i].size());
    std::memcpy(found.data(), out[i].data(), out[i].bytes());
    EXPECT_LT(relative_error(found, *wanted[i]), 4e-6) << i;
  }
}

TEST_F(PluginKernels, EveryDeviceOfAMeshCallsAtTheSameTime) {
  const char* program = R"(
module @mesh attributes {mhlo.num_partitions = 4 : i32, mhlo.num_replicas = 1 : i32} {
  sdy.mesh @mesh = <["dp"=4]>
  func.func public @main(%x: tensor<32x24xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"dp"}, {}]>}, %w: tensor<16x24xf32>)
      -> (tensor<32x16xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"dp"}, {}]>}) {
    %0 = sdy.manual_computation(%x, %w) in_shardings=[<@mesh, [{"dp"}, {}]>, <@mesh, [{}, {}]>] out_shardings=[<@mesh, [{"dp"}, {}]>] manual_axes={"dp"} (%a: tensor<8x24xf32>, %b: tensor<16x24xf32>) {
      %1 = stablehlo.custom_call @gavel_linear(%a, %b) {api_version = 4 : i32, backend_config = {compute = 2 : i32}} : (tensor<8x24xf32>, tensor<16x24xf32>) -> tensor<8x16xf32>
      sdy.return %1 : tensor<8x16xf32>
    } : (tensor<32x24xf32>, tensor<16x24xf32>) -> tensor<32x16xf32>
    return %0 : tensor<32x16xf32>
  }
}
)";
  const auto x = random_tensor(DType::kF32, {8, 24}, 1), w = random_tensor(DType::kF32, {16, 24}, 2);
  const auto wanted = matmul(doubles(x), doubles(w), 8, 16, 24, false, true);
  const auto out = run(program, {x, w}, 4);
  ASSERT_EQ(out.size(), 4u);
  for (const HostTensor& shard : out) {
    Buffer found(DType::kF32, shard.size());
    std::memcpy(found.data(), shard.data(), shard.bytes());
    EXPECT_LT(relative_error(found, wanted), 2e-6);
  }
}

TEST_F(PluginKernels, ABadCallIsAnErrorWithItsName) {
  const char* program = R"(
module @bad {
  func.func public @main(%x: tensor<3x5xf32>, %w: tensor<7x6xf32>) -> tensor<3x7xf32> {
    %0 = stablehlo.custom_call @gavel_linear(%x, %w) {api_version = 4 : i32, backend_config = {compute = 2 : i32}} : (tensor<3x5xf32>, tensor<7x6xf32>) -> tensor<3x7xf32>
    return %0 : tensor<3x7xf32>
  }
}
)";
  try {
    run(program, {random_tensor(DType::kF32, {3, 5}, 1), random_tensor(DType::kF32, {7, 6}, 2)});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("gavel_linear: operand 0: expected rows of 6, found shape [3, 5]"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace gavel
