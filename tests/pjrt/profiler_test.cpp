// The profiler extension through a table of functions of our own: the CPU plugins have none.
#include "pjrt/profiler.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/protobuf.h"
#include "pjrt/pjrt_test_util.h"
#include "pjrt/profiler_abi.h"

namespace gavel::pjrt {

namespace profiler_abi {
struct Error {
  std::string text;
};
struct Profiler {
  std::string recorded;
};
}  // namespace profiler_abi

namespace {

namespace abi = profiler_abi;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/** What the functions below were called for, and which of them fails. */
struct Calls {
  std::vector<std::string> names;
  std::string options, fails;
  bool gives_its_own = false;  // a place in its memory, instead of copying to the caller's
  int errors = 0;              // that are alive
};
Calls calls;
const std::string kRecorded(
    "\x22\x03"
    "abc"
    "\x08\x00",
    7);  // ends with a zero of its own

abi::Error* called(const char* name) {
  calls.names.emplace_back(name);
  if (calls.fails != name) return nullptr;
  ++calls.errors;
  return new abi::Error{"no driver"};
}

abi::Api fake_api() {
  abi::Api api{};
  api.struct_size = sizeof(abi::Api);
  api.error_destroy = [](abi::ErrorDestroyArgs* args) {
    --calls.errors;
    delete args->error;
  };
  api.error_message = [](abi::ErrorMessageArgs* args) {
    args->message = args->error->text.data();
    args->message_size = args->error->text.size();
  };
  api.create = [](abi::CreateArgs* args) {
    calls.options.assign(args->options, args->options_size);
    abi::Error* error = called("create");
    if (error == nullptr) args->profiler = new abi::Profiler{};
    return error;
  };
  api.destroy = [](abi::ProfilerArgs* args) {
    delete args->profiler;
    return called("destroy");
  };
  api.start = [](abi::ProfilerArgs*) { return called("start"); };
  api.stop = [](abi::ProfilerArgs* args) {
    args->profiler->recorded = kRecorded;
    return called("stop");
  };
  api.collect = [](abi::CollectArgs* args) {
    std::string& recorded = args->profiler->recorded;
    if (args->buffer != nullptr)
      std::memcpy(args->buffer, recorded.data(), recorded.size());
    else if (calls.gives_its_own)
      args->buffer = reinterpret_cast<uint8_t*>(recorded.data());
    // As the CUDA plugin counts.
    args->buffer_size = recorded.size() + (calls.gives_its_own ? 1 : 0);
    return called("collect");
  };
  return api;
}

class ProfilerTest : public testing::Test {
 protected:
  void SetUp() override { calls = {}; }
  abi::Api api_ = fake_api();
};

TEST_F(ProfilerTest, RecordsFromStartToStop) {
  {
    Profiler profiler(api_, "fake");
    EXPECT_THAT(calls.names, ElementsAre("create", "start"));
    EXPECT_EQ(profiler.stop(), kRecorded);
  }
  EXPECT_THAT(calls.names, ElementsAre("create", "start", "stop", "collect", "collect", "destroy"));
  // host_tracer_level 0, device_tracer_level 1, python_tracer_level 0, version 1, enable_hlo_proto
  EXPECT_EQ(calls.options, std::string("\x10\x00\x18\x01\x20\x00\x28\x01\x38\x01", 10));
}

TEST_F(ProfilerTest, TakesWhatThePluginHoldsItself) {
  calls.gives_its_own = true;
  EXPECT_EQ(Profiler(api_, "fake").stop(), kRecorded);
  EXPECT_THAT(calls.names, ElementsAre("create", "start", "stop", "collect", "destroy"));
}

TEST_F(ProfilerTest, IsStoppedWhenItIsDropped) {
  {
    const Profiler profiler(api_, "fake");
  }
  EXPECT_THAT(calls.names, ElementsAre("create", "start", "stop", "destroy"));
}

TEST_F(ProfilerTest, ThePluginsWordsAreTold) {
  for (const char* name : {"create", "start"}) {
    calls = {.names = {}, .options = {}, .fails = name, .gives_its_own = false};
    EXPECT_THAT(error_of([&] { Profiler(api_, "fake"); }),
                AllOf(HasSubstr("fake: the profiler"), HasSubstr("no driver")));
    EXPECT_EQ(calls.errors, 0) << name;
  }
  for (const char* name : {"stop", "collect", "destroy"}) {
    calls = {.names = {}, .options = {}, .fails = name, .gives_its_own = false};
    std::string error = error_of([&] { Profiler(api_, "fake").stop(); });
    EXPECT_EQ(error.find("no driver") != std::string::npos, std::string_view(name) != "destroy") << name;
    EXPECT_EQ(calls.errors, 0) << name;
    EXPECT_EQ(calls.names.back(), "destroy");
  }
}

TEST_F(ProfilerTest, AnOlderTableIsRefused) {
  api_.struct_size = offsetof(abi::Api, collect);
  EXPECT_THAT(error_of([&] { Profiler(api_, "fake"); }), HasSubstr("its profiler's table has"));
}

/** The table as the plugin has it: none of our own could show that its layout is right. */
TEST_F(ProfilerTest, ThatOfTheCudaPluginRecordsWithoutAGpu) {
  bool there = false;
  for (const auto& path : plugin_candidates("cuda")) there = there || std::filesystem::exists(path);
  if (!there) GTEST_SKIP() << "no CUDA plugin";
  const auto plugin = Plugin::load("cuda");
  auto profiler = Profiler::start(*plugin);
  ASSERT_NE(profiler, nullptr);
  const std::string space = profiler->stop();
  protobuf::Fields fields(space);
  int planes = 0;
  while (fields.next()) planes += fields.field == 1 ? 1 : 0;
  EXPECT_TRUE(fields.whole());
  EXPECT_GT(planes, 0);
}

TEST_F(ProfilerTest, APluginWithoutOneHasNone) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "no CPU plugin";
  EXPECT_EQ(Profiler::start(*plugin), nullptr);
}

}  // namespace
}  // namespace gavel::pjrt
