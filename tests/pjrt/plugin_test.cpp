#include "pjrt/plugin.h"

#include "base/scoped_variable.h"
#include "pjrt/client.h"
#include "pjrt/compile_options.h"
#include "pjrt/ffi.h"
#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Plugin, LoadsOnceAndTellsItsVersion) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  EXPECT_EQ(plugin, Plugin::load("cpu"));
  EXPECT_EQ(plugin, Plugin::load(plugin->path().string()));
  EXPECT_EQ(plugin->api_major(), 0);
  EXPECT_GE(plugin->api_minor(), 81);
  EXPECT_TRUE(plugin->attributes().contains("xla_version"));
  EXPECT_THAT(plugin->fingerprint(),
              AllOf(HasSubstr(fmt::format("api 0.{}", plugin->api_minor())), HasSubstr("xla_version=")));
  EXPECT_TRUE(has_ffi(*plugin));
}

TEST(Client, AComputeCapabilityIsReadOrNotKnown) {
  EXPECT_EQ(capability_of("9.0"), 90);
  EXPECT_EQ(capability_of("12.1"), 121);
  for (const char* text : {"", "9", "9.", ".9", "a.0", "9.x", "9.10", "-8.0", "99999999999.0"})
    EXPECT_EQ(capability_of(text), 0) << text;
}

TEST(Plugin, UnknownNameSuggestsTheNearest) {
  EXPECT_THAT(error_of([] { Plugin::load("cdua"); }), AllOf(HasSubstr("'cdua'"), HasSubstr("cpu, cuda, tpu")));
}

TEST(Plugin, MissingPackageListsWhatWasTriedAndHowToFetchIt) {
  ScratchFolder scratch;
  ScopedVariable cache("XDG_CACHE_HOME", scratch.path().string());
  ScopedVariable python("PYTHONPATH", "/nowhere/a::.:here:/nowhere/b");
  EXPECT_THAT(error_of([] { Plugin::load("tpu"); }),
              AllOf(HasSubstr(scratch.path().string()), HasSubstr("/nowhere/a/libtpu/libtpu.so"),
                    HasSubstr("/nowhere/b/libtpu/libtpu.so"), HasSubstr("GAVEL_PJRT_TPU"),
                    HasSubstr("gavel doctor --fetch tpu")));
  for (const auto& path : plugin_candidates("tpu")) EXPECT_TRUE(path.is_absolute()) << path;
}

TEST(Plugin, EnvironmentVariableComesFirst) {
  ScopedVariable variable("GAVEL_PJRT_CPU", "/nowhere/plugin.so");
  EXPECT_EQ(plugin_candidates("cpu").front(), "/nowhere/plugin.so");
  EXPECT_THAT(error_of([] { Plugin::load("cpu"); }),
              AllOf(HasSubstr("GAVEL_PJRT_CPU"), HasSubstr("/nowhere/plugin.so")));
}

TEST(Plugin, MissingFileFolderAndTextFileAreNamed) {
  ScratchFolder scratch;
  auto text = scratch.path() / "text.so";
  write_file(text, "this is not a library");
  auto empty = scratch.path() / "empty.so";
  write_file(empty, "");
  EXPECT_THAT(error_of([] { Plugin::load("/nowhere/x.so"); }),
              AllOf(HasSubstr("/nowhere/x.so"), HasSubstr("no such file")));
  EXPECT_THAT(error_of([&] { Plugin::load(scratch.path().string()); }), HasSubstr("found a folder"));
  for (const auto& path : {text, empty})
    EXPECT_THAT(error_of([&] { Plugin::load(path.string()); }),
                AllOf(HasSubstr(path.string()), HasSubstr("expected a shared library")));
}

TEST(Plugin, TruncatedLibraryIsRefused) {
  ScratchFolder scratch;
  auto path = scratch.path() / "torn.so";
  write_file(path, std::string("\x7f") + "ELF" + std::string(20, '\0'));
  EXPECT_THAT(error_of([&] { Plugin::load(path.string()); }),
              AllOf(HasSubstr(path.string()), HasSubstr("can't be loaded")));
}

TEST(Plugin, LibraryWithoutGetPjrtApiIsRefused) {
  // Any library of the system will do; libm is linked to every C++ program.
  std::string libm;
  for (const char* candidate : {"/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6",
                                "/usr/lib/libm.so.6", "/lib64/libm.so.6"})
    if (libm.empty() && std::filesystem::exists(candidate)) libm = candidate;
  if (libm.empty()) GTEST_SKIP() << "libm.so.6 is in none of the usual places";
  EXPECT_THAT(error_of([&] { Plugin::load(libm); }), AllOf(HasSubstr(libm), HasSubstr("no function GetPjrtApi")));
}

TEST(Client, UnknownOptionIsRefusedByName) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  EXPECT_THAT(error_of([&] { Client::create(plugin, {{"no_such_option", 1}}); }),
              AllOf(HasSubstr("creating a client"), HasSubstr("no_such_option")));
}

TEST(CompileOptions, EncodesTheProtocolBuffer) {
  // Worked out by hand from the field numbers: 3{1:-1 4:1 5:1 6:0 19:1}.
  EXPECT_EQ(encode({}), std::string("\x1a\x14\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01\x28\x01\x30"
                                    "\x00\x98\x01\x01",
                                    22));
  CompileOptions two{.num_partitions = 2, .use_shardy = false, .device_ids = {1, 0}, .overrides = {}};
  EXPECT_EQ(encode(two), std::string("\x1a\x22\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01\x28\x02\x30"
                                     "\x01\x4a\x0c\x08\x01\x10\x02\x1a\x02\x08\x01\x1a\x02\x08\x00\x98\x01\x00",
                                     36));
  CompileOptions flag{.overrides = {{"a", true}, {"b", "x"}}};
  EXPECT_EQ(encode(flag).substr(22), std::string("\x3a\x07\x0a\x01\x61\x12\x02\x10\x01"
                                                 "\x3a\x08\x0a\x01\x62\x12\x03\x0a\x01\x78",
                                                 19));
  // 3{… 15:1000 19:1}, and a preference where nothing is laid down for the same name.
  EXPECT_EQ(encode({.device_memory = 1000}).substr(2),
            std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01\x28\x01\x30"
                        "\x00\x78\xe8\x07\x98\x01\x01",
                        23));
  EXPECT_EQ(encode({.overrides = {{"a", true}}, .preferences = {{"a", false}, {"b", "x"}}}).substr(22),
            std::string("\x3a\x08\x0a\x01\x62\x12\x03\x0a\x01\x78"
                        "\x3a\x07\x0a\x01\x61\x12\x02\x10\x01",
                        19));
  two.device_ids = {1};
  EXPECT_THAT(error_of([&] { encode(two); }), HasSubstr("1 device ids for 2 partitions"));
  EXPECT_THAT(error_of([] { encode({.num_partitions = 0}); }), HasSubstr("num_partitions"));
}

TEST(Signature, ReadsShapesTypesAndDonation) {
  auto specs = parse_arguments(R"(module @m {
    sdy.mesh @mesh = <["a"=2]>
    func.func public @main(%arg0: tensor<8x16xbf16> {sdy.sharding = #sdy.sharding<@mesh, [{"a"}, {}]>,
      tf.aliasing_output = 0 : i32, note = "a, ) } %"}, %arg1: tensor<i1>, %arg2: tensor<3xui32> {x = [1, 2]})
      -> (tensor<8x16xbf16>) {)");
  ASSERT_TRUE(specs);
  ASSERT_EQ(specs->size(), 3u);
  EXPECT_EQ((*specs)[0].dtype, DType::kBF16);
  EXPECT_EQ((*specs)[0].shape, (Shape{8, 16}));
  EXPECT_TRUE((*specs)[0].donated);
  EXPECT_EQ((*specs)[1].dtype, DType::kBool);
  EXPECT_EQ((*specs)[1].shape, Shape{});
  EXPECT_FALSE((*specs)[1].donated);
  EXPECT_EQ((*specs)[2].dtype, DType::kU32);
  EXPECT_EQ((*specs)[2].shape, Shape{3});
}

TEST(Signature, NoArgumentsAndUnreadableForms) {
  auto none = parse_arguments("func.func @main() -> tensor<f32> {");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  EXPECT_FALSE(parse_arguments("module {}"));
  EXPECT_FALSE(parse_arguments("func.func @main(%a: tensor<?x2xf32>) -> tensor<f32>"));
  EXPECT_FALSE(parse_arguments("func.func @main(%a: tensor<99999999999999999999xf32>)"));
  EXPECT_FALSE(parse_arguments("func.func @main(%a: !stablehlo.token)"));
  EXPECT_FALSE(parse_arguments("func.func @main(%a: tensor<2xf32>, "));
  EXPECT_FALSE(parse_arguments("func.func @main(%a: tensor<2x"));
  EXPECT_FALSE(parse_arguments("func.func @main(\"\\"));
}

}  // namespace
}  // namespace gavel::pjrt
