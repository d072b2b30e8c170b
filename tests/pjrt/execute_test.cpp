#include <atomic>
#include <chrono>
#include <thread>

#include "pjrt/client.h"
#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string add_program(std::string_view type) {
  return fmt::format(R"(module @add {{
  func.func @main(%a: tensor<2x3x{0}>, %b: tensor<2x3x{0}>) -> tensor<2x3x{0}> {{
    %0 = stablehlo.add %a, %b : tensor<2x3x{0}>
    return %0 : tensor<2x3x{0}>
  }}
}})",
                     type);
}

constexpr std::string_view kDonate = R"(module @donate {
  func.func @main(%a: tensor<4xf32> {tf.aliasing_output = 0 : i32}, %b: tensor<4xf32>) -> tensor<4xf32> {
    %0 = stablehlo.add %a, %b : tensor<4xf32>
    return %0 : tensor<4xf32>
  }
})";

/** Every test of this suite runs on both plugins. */
class Execute : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto plugin = GetParam() == "default" ? cpu_plugin() : older_cpu_plugin();
    if (!plugin) GTEST_SKIP() << "the plugin was not fetched (tools/fetch_packages.py)";
    client_ = shared_client(plugin, 1);
  }
  std::shared_ptr<Client> client_;
};

INSTANTIATE_TEST_SUITE_P(Plugins, Execute, ::testing::Values("default", "older"),
                         [](const auto& info) { return info.param; });

TEST_P(Execute, DescribesItsDevice) {
  ASSERT_EQ(client_->devices().size(), 1u);
  EXPECT_EQ(client_->global_devices().size(), 1u);
  EXPECT_EQ(client_->platform_name(), "cpu");
  EXPECT_EQ(client_->process_index(), 0);
  EXPECT_FALSE(client_->device(0).kind.empty());
  EXPECT_FALSE(client_->device(0).description.empty());
  EXPECT_THAT(error_of([&] { client_->device(1); }), HasSubstr("device 1 was asked for, there are 1"));
  client_->memory(client_->device(0));  // reports nothing on this plugin, and does not throw
}

TEST_P(Execute, AddsFloat32) {
  Executable add = client_->compile(add_program("f32"), {}, "add");
  EXPECT_EQ(add.num_outputs(), 1u);
  EXPECT_THAT(add.device_ids(), ElementsAre(0));
  ASSERT_EQ(add.outputs().size(), 1u);
  EXPECT_EQ(add.outputs()[0].dtype, DType::kF32);
  EXPECT_EQ(add.outputs()[0].shape, (Shape{2, 3}));
  Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}));
  Buffer b = client_->to_device(HostTensor::from<float>({10, 20, 30, 40, 50, 60}, {2, 3}));
  Event done;
  auto out = add.run({&a, &b}, {}, &done);
  done.wait();
  EXPECT_TRUE(done.ready());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].shape(), (Shape{2, 3}));
  EXPECT_EQ(out[0].on_device_size(), 24u);
  EXPECT_THAT(out[0].to_host().as<float>(), ElementsAre(11, 22, 33, 44, 55, 66));
  EXPECT_FALSE(a.is_deleted());
}

TEST_P(Execute, AddsBfloat16AndInt32AndKeepsBool) {
  HostTensor half = HostTensor::from<float>({0.5f, 1, 2, 3, 4, 100}, {2, 3}).to(DType::kBF16);
  Buffer h = client_->to_device(half);
  EXPECT_EQ(h.dtype(), DType::kBF16);
  auto sum = client_->compile(add_program("bf16"), {}).run({&h, &h});
  EXPECT_THAT(sum[0].to_host().to(DType::kF32).as<float>(), ElementsAre(1, 2, 4, 6, 8, 200));

  Buffer i = client_->to_device(HostTensor::from<int32_t>({1, -2, 3, INT32_MAX, 5, 0}, {2, 3}));
  auto wrapped = client_->compile(add_program("i32"), {}).run({&i, &i});
  EXPECT_THAT(wrapped[0].to_host().as<int32_t>(), ElementsAre(2, -4, 6, -2, 10, 0));

  HostTensor flags(DType::kBool, {3});
  flags.as_mutable<uint8_t>()[1] = 1;
  EXPECT_THAT(client_->to_device(flags).to_host().as<uint8_t>(), ElementsAre(0, 1, 0));
}

TEST_P(Execute, EveryTypeSurvivesTheRoundTrip) {
  for (DType dtype : {DType::kBool, DType::kU8, DType::kI8, DType::kU16, DType::kI16, DType::kU32, DType::kI32,
                      DType::kU64, DType::kI64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    HostTensor tensor(dtype, {3, 5});
    auto* bytes = static_cast<uint8_t*>(tensor.mutable_data());
    for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = static_cast<uint8_t>(dtype == DType::kBool ? i % 2 : i);
    Buffer buffer = client_->to_device(tensor);
    EXPECT_EQ(buffer.dtype(), dtype);
    HostTensor back = buffer.to_host();
    EXPECT_EQ(back.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(back.data(), tensor.data(), tensor.bytes()), 0) << dtype_name(dtype);
  }
}

TEST_P(Execute, ScalarsAndEmptyArrays) {
  EXPECT_THAT(client_->to_device(HostTensor::from<float>({7}, {})).to_host().as<float>(), ElementsAre(7));
  Buffer empty = client_->to_device(HostTensor(DType::kF32, {0, 4}));
  EXPECT_EQ(empty.shape(), (Shape{0, 4}));
  EXPECT_EQ(empty.to_host().size(), 0);
}

TEST_P(Execute, TransposedResultArrivesRowMajor) {
  // The compiler may choose a column-major layout for the result; the copy to the host must not show it.
  Executable transpose = client_->compile(R"(module @t {
    func.func @main(%a: tensor<2x3xf32>) -> tensor<3x2xf32> {
      %0 = stablehlo.transpose %a, dims = [1, 0] : (tensor<2x3xf32>) -> tensor<3x2xf32>
      return %0 : tensor<3x2xf32>
    }
  })",
                                          {});
  Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}));
  EXPECT_THAT(transpose.run({&a})[0].to_host().as<float>(), ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST_P(Execute, DonatedBufferCannotBeUsedAgain) {
  Executable program = client_->compile(kDonate, {}, "donate");
  ASSERT_TRUE(program.arguments());
  EXPECT_TRUE((*program.arguments())[0].donated);
  EXPECT_EQ(program.memory().aliased, 16);
  Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4}, {4}));
  Buffer b = client_->to_device(HostTensor::from<float>({1, 1, 1, 1}, {4}));
  auto out = program.run({&a, &b});
  EXPECT_THAT(out[0].to_host().as<float>(), ElementsAre(2, 3, 4, 5));
  EXPECT_TRUE(a.is_deleted());
  EXPECT_FALSE(b.is_deleted());
  EXPECT_THAT(error_of([&] { a.to_host(); }), HasSubstr("donated"));
  EXPECT_THAT(error_of([&] { a.wait(); }), HasSubstr("donated"));
  EXPECT_THAT(error_of([&] { program.run({&a, &b}); }),
              AllOf(HasSubstr("donate: argument 0"), HasSubstr("donated to an earlier execution")));
  // State carried through many steps, as a train loop does.
  Buffer state = std::move(out[0]);
  for (int i = 0; i < 10; ++i) state = std::move(program.run({&state, &b})[0]);
  EXPECT_THAT(state.to_host().as<float>(), ElementsAre(12, 13, 14, 15));
}

TEST_P(Execute, NonDonatableArgumentSurvives) {
  Executable program = client_->compile(kDonate, {}, "donate");
  Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4}, {4}));
  Buffer b = client_->to_device(HostTensor::from<float>({1, 1, 1, 1}, {4}));
  auto out = program.run({&a, &b}, {.non_donatable = {0}});
  EXPECT_THAT(out[0].to_host().as<float>(), ElementsAre(2, 3, 4, 5));
  EXPECT_FALSE(a.is_deleted());
  EXPECT_THAT(a.to_host().as<float>(), ElementsAre(1, 2, 3, 4));
}

TEST_P(Execute, SharedHostMemoryIsUsedInPlaceAndNeverWritten) {
  HostTensor host = HostTensor::from<float>({1, 2, 3, 4}, {4});
  Executable program = client_->compile(kDonate, {}, "donate");
  Buffer a = client_->to_device(host, 0, HostMemory::kShare);
  Buffer b = client_->to_device(HostTensor::from<float>({5, 5, 5, 5}, {4}), 0, HostMemory::kShare);
  auto out = program.run({&a, &b});
  EXPECT_THAT(out[0].to_host().as<float>(), ElementsAre(6, 7, 8, 9));
  EXPECT_THAT(host.as<float>(), ElementsAre(1, 2, 3, 4)) << "donation wrote into the caller's memory";
}

TEST_P(Execute, HostMemoryIsHeldUntilTheDeviceIsDone) {
  auto released = std::make_shared<std::atomic<bool>>(false);
  auto values = std::shared_ptr<std::vector<float>>(new std::vector<float>(1 << 16, 3.0f), [released](auto* v) {
    *released = true;
    delete v;
  });
  {
    Buffer buffer = client_->to_device(HostTensor(DType::kF32, {1 << 16}, values->data(), values));
    values.reset();  // only the transfer holds it now
    EXPECT_EQ(buffer.to_host().as<float>()[65535], 3.0f);
  }
  // The callback runs on a thread of the plugin.
  for (int i = 0; i < 1000 && !*released; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(*released);
}

TEST_P(Execute, ManyAsynchronousTransfers) {
  constexpr int kCount = 200;
  std::vector<Buffer> buffers;
  for (int i = 0; i < kCount; ++i)
    buffers.push_back(client_->to_device(HostTensor::from<int32_t>(std::vector<int32_t>(1000, i), {10, 100})));
  std::vector<HostTransfer> transfers;
  for (const Buffer& buffer : buffers) transfers.push_back(buffer.to_host_async());
  buffers.clear();  // freed while copies may be under way
  for (int i = 0; i < kCount; ++i) {
    HostTensor tensor = transfers[i].get();
    EXPECT_EQ(tensor.as<int32_t>()[0], i);
    EXPECT_EQ(tensor.as<int32_t>()[999], i);
  }
  auto dropped = client_->to_device(HostTensor(DType::kF32, {1 << 18})).to_host_async();  // never waited for
}

TEST_P(Execute, SeveralThreadsRunOneProgram) {
  Executable add = client_->compile(add_program("f32"), {}, "add");
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        Buffer a = client_->to_device(HostTensor::from<float>(std::vector<float>(6, t), {2, 3}));
        right += add.run({&a, &a})[0].to_host().as<float>()[5] == 2.0f * t;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 100);
}

TEST_P(Execute, WrongArgumentsAreNamed) {
  Executable add = client_->compile(add_program("f32"), {}, "add");
  Buffer good = client_->to_device(HostTensor(DType::kF32, {2, 3}));
  Buffer wrong_shape = client_->to_device(HostTensor(DType::kF32, {3, 2}));
  Buffer wrong_type = client_->to_device(HostTensor(DType::kI32, {2, 3}));
  Buffer empty;
  EXPECT_THAT(error_of([&] { add.run({&good}); }), HasSubstr("add: expected 2 arguments, found 1"));
  EXPECT_THAT(error_of([&] { add.run({&good, &wrong_shape}); }),
              HasSubstr("argument 1 is declared as float32 [2, 3], found float32 [3, 2]"));
  EXPECT_THAT(error_of([&] { add.run({&good, &wrong_type}); }), HasSubstr("found int32 [2, 3]"));
  EXPECT_THAT(error_of([&] { add.run({&good, &empty}); }), HasSubstr("argument 1 is empty"));
  EXPECT_THAT(error_of([&] { add.run({&good, nullptr}); }), HasSubstr("argument 1 is empty"));
  EXPECT_THAT(error_of([&] { add.execute({}); }), HasSubstr("1 devices, found 0"));
  good.delete_now();
  EXPECT_THAT(error_of([&] { add.run({&good, &good}); }), HasSubstr("argument 0 was deleted"));
}

TEST_P(Execute, CompileErrorsCarryTheCompilersText) {
  std::string text = error_of([&] { client_->compile("module { func.func @main( }", {}, "broken step"); });
  EXPECT_THAT(text, AllOf(HasSubstr("compiling broken step"), HasSubstr(":1:26: error: expected")));
  try {
    client_->compile(R"(module @m { func.func @main(%a: tensor<2xf32>) -> tensor<3xf32> {
      %0 = stablehlo.add %a, %a : tensor<3xf32>
      return %0 : tensor<3xf32> } })",
                     {}, "typo");
    FAIL() << "no error";
  } catch (const PjrtError& error) {
    EXPECT_NE(error.code(), 0);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("compiling typo"), HasSubstr(":2:26: error:"), HasSubstr("tensor<3xf32>")));
  }
}

TEST_P(Execute, ControlFlowGatherScatterAndReduction) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "both plugins' compilers leak on their own threads when they compile a scatter";
#endif
  Executable program = client_->compile(R"(module @ops {
  func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2xf32>) {
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %i0 = stablehlo.constant dense<0> : tensor<i32>
    %rows = stablehlo.constant dense<[[1],[0],[1]]> : tensor<3x1xi32>
    %g = "stablehlo.gather"(%x, %rows) {dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, slice_sizes = array<i64: 1, 4>, indices_are_sorted = false} : (tensor<2x4xf32>, tensor<3x1xi32>) -> tensor<3x4xf32>
    %zeros = "stablehlo.broadcast_in_dim"(%zero) {broadcast_dimensions = array<i64>} : (tensor<f32>) -> tensor<2x4xf32>
    %s = "stablehlo.scatter"(%zeros, %rows, %g) ({
      ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %r = "stablehlo.add"(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32>
        "stablehlo.return"(%r) : (tensor<f32>) -> ()
    }) {scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, indices_are_sorted = false, unique_indices = false} : (tensor<2x4xf32>, tensor<3x1xi32>, tensor<3x4xf32>) -> tensor<2x4xf32>
    %w:2 = "stablehlo.while"(%i0, %s) ({
      ^bb0(%i: tensor<i32>, %c: tensor<2x4xf32>):
        %n = stablehlo.constant dense<3> : tensor<i32>
        %p = "stablehlo.compare"(%i, %n) {comparison_direction = #stablehlo<comparison_direction LT>} : (tensor<i32>, tensor<i32>) -> tensor<i1>
        "stablehlo.return"(%p) : (tensor<i1>) -> ()
    }, {
      ^bb0(%i: tensor<i32>, %c: tensor<2x4xf32>):
        %one = stablehlo.constant dense<1> : tensor<i32>
        %i2 = "stablehlo.add"(%i, %one) : (tensor<i32>, tensor<i32>) -> tensor<i32>
        %c2 = "stablehlo.add"(%c, %x) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
        "stablehlo.return"(%i2, %c2) : (tensor<i32>, tensor<2x4xf32>) -> ()
    }) : (tensor<i32>, tensor<2x4xf32>) -> (tensor<i32>, tensor<2x4xf32>)
    %sum = stablehlo.reduce(%w#1 init: %zero) applies stablehlo.add across dimensions = [1] : (tensor<2x4xf32>, tensor<f32>) -> tensor<2xf32>
    return %w#1, %sum : tensor<2x4xf32>, tensor<2xf32>
  }
})",
                                        {}, "ops");
  EXPECT_EQ(program.num_outputs(), 2u);
  ASSERT_EQ(program.outputs().size(), 2u);
  EXPECT_EQ(program.outputs()[1].shape, Shape{2});
  EXPECT_EQ(program.memory().arguments, 32);
  EXPECT_EQ(program.memory().outputs >= 40, true);
  Buffer x = client_->to_device(HostTensor::from<float>({1, 2, 3, 4, 10, 20, 30, 40}, {2, 4}));
  auto out = program.run({&x});
  // Row 0 was gathered once and row 1 twice; the loop adds x three times more.
  EXPECT_THAT(out[0].to_host().as<float>(), ElementsAre(4, 8, 12, 16, 50, 100, 150, 200));
  EXPECT_THAT(out[1].to_host().as<float>(), ElementsAre(40, 500));
}

TEST_P(Execute, SerialisedProgramRunsAfterLoading) {
  std::string text = add_program("f32");
  std::string bytes = client_->compile(text, {}, "add").serialize();
  EXPECT_FALSE(bytes.empty());
  Executable loaded = client_->deserialize(bytes, text, "add");
  Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}));
  EXPECT_THAT(loaded.run({&a, &a})[0].to_host().as<float>(), ElementsAre(2, 4, 6, 8, 10, 12));
  EXPECT_THAT(error_of([&] { client_->deserialize("not a program", text, "add"); }), HasSubstr("loading compiled add"));
}

TEST(Sharded, EightDevicesWithShardy) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  auto client = shared_client(plugin, 8);
  ASSERT_EQ(client->devices().size(), 8u);
  constexpr std::string_view kText = R"(module @step {
  sdy.mesh @mesh = <["fsdp"=4, "mp"=2]>
  func.func @main(%a: tensor<8x4xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"fsdp"}, {"mp"}]>}, %b: tensor<4x8xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"mp"}, {}]>})
      -> (tensor<8x8xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"fsdp"}, {"mp"}]>}) {
    %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0], precision = [HIGHEST, HIGHEST] : (tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
    return %0 : tensor<8x8xf32>
  }
})";
  Executable program = client->compile(kText, {.num_partitions = 8}, "sharded");
  EXPECT_THAT(program.device_ids(), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  // a[i][k] = i + k, b[k][j] = k * j: whole matrices, cut into shards by hand.
  std::vector<Buffer> buffers;
  std::vector<Executable::Arguments> arguments(8);
  buffers.reserve(16);
  for (int d = 0; d < 8; ++d) {
    int row = d / 2;
    int column = d % 2;
    std::vector<float> a;
    std::vector<float> b;
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < 2; ++k) a.push_back(static_cast<float>(2 * row + i + 2 * column + k));
    for (int k = 0; k < 2; ++k)
      for (int j = 0; j < 8; ++j) b.push_back(static_cast<float>((2 * column + k) * j));
    buffers.push_back(client->to_device(HostTensor::from<float>(a, {2, 2}), d));
    arguments[d].push_back(&buffers.back());
    buffers.push_back(client->to_device(HostTensor::from<float>(b, {2, 8}), d));
    arguments[d].push_back(&buffers.back());
    EXPECT_EQ(buffers.back().device_id(), d);
  }
  std::vector<Event> done;
  auto out = program.execute(arguments, {}, &done);
  ASSERT_EQ(done.size(), 8u);
  for (const Event& event : done) event.wait();
  ASSERT_EQ(out.size(), 8u);
  for (int d = 0; d < 8; ++d) {
    ASSERT_EQ(out[d][0].shape(), (Shape{2, 4}));
    HostTensor shard = out[d][0].to_host();
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) {
        int expected = 0;
        for (int k = 0; k < 4; ++k) expected += (d / 2 * 2 + i + k) * (k * (d % 2 * 4 + j));
        EXPECT_EQ(shard.as<float>()[i * 4 + j], expected) << "device " << d;
      }
  }
  std::swap(arguments[0], arguments[1]);
  EXPECT_THAT(error_of([&] { program.execute(arguments); }), HasSubstr("lies on device 1, expected device 0"));
}

TEST(Sharded, ProgramOnOneChosenDevice) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  auto client = shared_client(plugin, 8);
  Executable add = client->compile(add_program("f32"), {.device_ids = {5}}, "add");
  EXPECT_THAT(add.device_ids(), ElementsAre(5));
  Buffer a = client->to_device(HostTensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}), 5);
  auto out = add.run({&a, &a});
  EXPECT_EQ(out[0].device_id(), 5);
  EXPECT_EQ(out[0].to_host().as<float>()[5], 12);
}

}  // namespace
}  // namespace gavel::pjrt
