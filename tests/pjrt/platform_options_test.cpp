#include "pjrt/platform_options.h"

#include "base/scoped_variable.h"
#include "pjrt/cuda_libraries.h"
#include "pjrt/topology.h"
#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

TEST(PlatformOptions, ACudaClientTakesMostOfTheMemory) {
  EXPECT_TRUE(client_options("cpu").empty());
  EXPECT_TRUE(client_options("tpu").empty());
  Options options = client_options("/opt/jax_plugins/xla_cuda13/xla_cuda_plugin.so");
  EXPECT_EQ(options, client_options("cuda"));
  EXPECT_EQ(options.at("memory_fraction"), OptionValue(0.92f));
  EXPECT_EQ(options.at("preallocate"), OptionValue(true));
  EXPECT_EQ(options.at("allocator"), OptionValue(std::string("bfc")));
  EXPECT_FALSE(options.contains("visible_devices"));
  EXPECT_EQ(client_options("cuda", ClientUse::kLook).at("preallocate"), OptionValue(false));
}

TEST(PlatformOptions, UsersChangeItAndAreToldOfWhatIsNoNumber) {
  ScopedVariable fraction("GAVEL_CUDA_MEMORY_FRACTION", "0.5"), allocator("GAVEL_CUDA_ALLOCATOR", "default"),
      devices("GAVEL_CUDA_DEVICES", "2,0");
  Options options = client_options("cuda");
  EXPECT_EQ(options.at("memory_fraction"), OptionValue(0.5f));
  EXPECT_FALSE(options.contains("allocator"));
  EXPECT_EQ(options.at("visible_devices"), OptionValue(std::vector<int64_t>{2, 0}));
  for (const char* wrong : {"1.5", "0", "nan", "0.9x", "-1", "lots"}) {
    ScopedVariable other("GAVEL_CUDA_MEMORY_FRACTION", wrong);
    EXPECT_THAT(error_of([] { client_options("cuda"); }),
                AllOf(HasSubstr("GAVEL_CUDA_MEMORY_FRACTION"), HasSubstr(wrong)));
  }
  for (const char* wrong : {"a", "0,", ",0", "-1", "0 1", "99999999999999999999"}) {
    ScopedVariable other("GAVEL_CUDA_DEVICES", wrong);
    EXPECT_THAT(error_of([] { client_options("cuda"); }), AllOf(HasSubstr("GAVEL_CUDA_DEVICES"), HasSubstr(wrong)));
  }
  ScopedVariable other("GAVEL_CUDA_ALLOCATOR", "mine");
  EXPECT_THAT(error_of([] { client_options("cuda"); }),
              HasSubstr("bfc, cuda_async, platform or default, found 'mine'"));
}

TEST(PlatformOptions, ProgramsAreCompiledForTheirPlatform) {
  CompileOptions cpu;
  add_platform_options(cpu, "cpu", "cpu", 1000);
  EXPECT_EQ(encode(cpu), encode({}));
  CompileOptions one;
  add_platform_options(one, "cuda", "NVIDIA H100", 78'000'000'000, "/x/nvidia/cu13");
  EXPECT_EQ(one.device_memory, 78'000'000'000);
  EXPECT_EQ(one.preferences.at("xla_gpu_cuda_data_dir"), OptionValue(std::string("/x/nvidia/cu13")));
  EXPECT_THAT(one.preferences, Not(testing::Contains(Key("xla_gpu_enable_latency_hiding_scheduler"))));
  CompileOptions eight{.num_partitions = 8};
  add_platform_options(eight, "cuda", "NVIDIA H100", -1);
  EXPECT_EQ(eight.device_memory, 0);
  EXPECT_EQ(eight.preferences.at("xla_gpu_enable_latency_hiding_scheduler"), OptionValue(true));
  const std::string gathers = "xla_tpu_enable_sparse_core_collective_offload_all_gather";
  const std::string fast_memory = "xla_tpu_scoped_vmem_limit_kib";
  for (auto [kind, parts, gathered, limited] : {std::tuple{"TPU v6 lite", 8, true, false},
                                                {"TPU v6 lite", 1, false, false},
                                                {"TPU v5 lite", 8, false, true},
                                                {"TPU v5 lite", 1, false, true},
                                                {"TPU v5", 8, false, false}}) {
    CompileOptions tpu{.num_partitions = parts};
    add_platform_options(tpu, "tpu", kind, 0);
    EXPECT_EQ(tpu.preferences.contains(gathers), gathered) << kind << " " << parts;
    EXPECT_EQ(tpu.preferences.contains(fast_memory), limited) << kind << " " << parts;
  }
  ScopedVariable flags("LIBTPU_INIT_ARGS", "--a=1 --" + gathers + "=false"),
      more("XLA_FLAGS", "--xla_gpu_autotune_level=0");
  CompileOptions tpu{.num_partitions = 8}, cuda;
  add_platform_options(tpu, "tpu", "TPU v6 lite", 0);
  add_platform_options(cuda, "cuda", "NVIDIA H100", 0);
  EXPECT_TRUE(tpu.preferences.empty());
  EXPECT_FALSE(cuda.preferences.contains("xla_gpu_autotune_level"));
  EXPECT_TRUE(cuda.preferences.contains("xla_gpu_enable_triton_gemm"));
}

TEST(PlatformOptions, WhatAPluginDoesNotKnowIsLeftOut) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  const std::string text = R"(module @m { func.func @main(%a: tensor<8xf32>) -> tensor<8xf32> {
    return %a : tensor<8xf32> } })";
  CompileOptions options{.preferences = {{"xla_no_such_thing", true}, {"xla_nor_this", int64_t{1}}}};
  EXPECT_EQ(Topology::of(shared_client(plugin, 1)).compile(text, options).num_outputs(), 1u);
  EXPECT_EQ(shared_client(plugin, 1)->compile(text, options).num_outputs(), 1u);
  // What is laid down is not.
  EXPECT_THAT(error_of([&] { shared_client(plugin, 1)->compile(text, {.overrides = {{"xla_no_such_thing", true}}}); }),
              HasSubstr("xla_no_such_thing"));
}

TEST(CudaLibraries, AreFoundAlongTheRunPath) {
  ScratchFolder scratch;
  const fs::path site = scratch.path();
  const fs::path plugin = site / "jax_plugins" / "xla_cuda13" / "xla_cuda_plugin.so";
  for (const fs::path& file :
       {plugin, site / "nvidia/cudnn/lib/libcudnn.so.9", site / "nvidia/cu13/nvvm/libdevice/libdevice.10.bc"}) {
    fs::create_directories(file.parent_path());
    write_file(file, "x");
  }
  auto libraries = cuda_libraries(plugin);
  EXPECT_EQ(libraries.front().name, "libcudnn.so.9");
  EXPECT_TRUE(fs::equivalent(libraries.front().path, site / "nvidia/cudnn/lib/libcudnn.so.9"));
  EXPECT_EQ(libraries.back().name, "libcuda.so.1");
  EXPECT_TRUE(fs::equivalent(cuda_folder(plugin), site / "nvidia/cu13"));
  EXPECT_EQ(needed_driver(plugin), "580");
  // Another cuDNN is another key.
  const std::string before = cuda_fingerprint(plugin);
  EXPECT_THAT(before, HasSubstr("libcudnn.so.9: libcudnn.so.9, 1 bytes"));
  write_file(site / "nvidia/cudnn/lib/libcudnn.so.9", "xy");
  EXPECT_NE(cuda_fingerprint(plugin), before);
  EXPECT_TRUE(cuda_folder("/nowhere/at/all/xla_cuda_plugin.so").empty());
}

TEST(CudaLibraries, AdviceNamesWhatIsNotThere) {
  const fs::path plugin = "/nowhere/jax_plugins/xla_cuda12/xla_cuda_plugin.so";
  const std::string advice = cuda_advice(plugin);
  bool all = true;
  for (const CudaLibrary& library : cuda_libraries(plugin)) {
    if (library.name == "libcuda.so.1") continue;  // a line of its own tells of the driver
    EXPECT_EQ(
        advice.find(library.name + ",") != std::string::npos || advice.find(library.name + ":") != std::string::npos,
        library.path.empty())
        << library.name << " in " << advice;
    all = all && !library.path.empty();
  }
  EXPECT_EQ(advice.find("gavel doctor --fetch cuda") != std::string::npos, !all);
}

TEST(CudaLibraries, APluginOfAnInstalledJaxIsFound) {
  ScratchFolder scratch;
  ScopedVariable environment("VIRTUAL_ENV", scratch.path().string()), cache("XDG_CACHE_HOME", "/nowhere"),
      chosen("GAVEL_PJRT_CUDA", "");
  const fs::path site = scratch.path() / "lib" / "python3.12" / "site-packages";
  const fs::path plugin = site / "jax_plugins" / "xla_cuda12" / "xla_cuda_plugin.so";
  EXPECT_THAT(plugin_candidates("cuda"), Not(testing::Contains(plugin)));
  fs::create_directories(plugin.parent_path());
  write_file(plugin, "x");
  EXPECT_THAT(plugin_candidates("cuda"), testing::Contains(plugin));
  EXPECT_THAT(plugin_candidates("tpu"), Not(testing::Contains(plugin)));
  EXPECT_EQ(needed_driver(plugin), "525");
}

TEST(CompileCache, ItsKeyHasTheFlagsThatPluginsRead) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  auto client = shared_client(plugin, 1);
  const std::string before = client->fingerprint();
  for (const char* name : {"LIBTPU_INIT_ARGS", "XLA_FLAGS"}) {
    ScopedVariable flags(name, "--x=1");
    EXPECT_NE(client->fingerprint(), before) << name;
  }
  EXPECT_EQ(client->fingerprint(), before);
}

}  // namespace
}  // namespace gavel::pjrt
