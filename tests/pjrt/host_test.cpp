#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "pjrt/host_memory.h"
#include "pjrt/topology.h"
#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

using ::testing::HasSubstr;

int threads_of_process() {
  std::ifstream stream("/proc/self/status");
  std::string line;
  while (std::getline(stream, line))
    if (line.starts_with("Threads:")) return std::atoi(line.c_str() + 8);
  return 0;
}

int threads_of_a_client(const std::shared_ptr<const Plugin>& plugin, int limit) {
  limit_cpu_threads(limit);
  int before = threads_of_process();
  auto client = Client::create(plugin);
  return threads_of_process() - before;
}

TEST(Host, ThreadLimitHolds) {
  if (threads_of_process() == 0) GTEST_SKIP() << "/proc/self/status is not there";
  for (const auto& plugin : {cpu_plugin(), older_cpu_plugin()}) {
    if (!plugin) GTEST_SKIP() << "a plugin was not fetched (tools/fetch_packages.py)";
    int one = threads_of_a_client(plugin, 1);
    int three = threads_of_a_client(plugin, 3);
    EXPECT_GE(three, one + 2) << plugin->name();
  }
  ::unsetenv("PJRT_NPROC");
  EXPECT_THAT(error_of([] { limit_cpu_threads(0); }), HasSubstr("positive number, found 0"));
}

long page_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/** Page faults of allocating, filling and freeing 64 MB ten times, on a thread as the plugin does it. */
void count_faults_after(bool tuned) {
  if (tuned) tune_host_allocator();
  auto use = [] {
    constexpr size_t kSize = size_t{64} << 20;
    void* block = nullptr;
    if (::posix_memalign(&block, 64, kSize) != 0) std::abort();
    for (size_t i = 0; i < kSize; i += 4096) static_cast<volatile char*>(block)[i] = 1;
    std::free(block);
  };
  std::thread(use).join();
  long before = page_faults();
  for (int i = 0; i < 10; ++i) std::thread(use).join();
  long faults = page_faults() - before;
  std::fprintf(stderr, "faults %s\n", faults < 16384 ? "few" : "many");
  std::exit(0);
}

TEST(HostDeathTest, TunedAllocatorKeepsLargeBlocks) {
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "another malloc is in use";
#endif
  // In processes of their own: the setting can't be taken back. 64 MB are 16,384 pages of 4 KB.
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(count_faults_after(true), ::testing::ExitedWithCode(0), "faults few");
}

TEST(Topology, CompilesWithoutAClient) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  EXPECT_THAT(error_of([&] { Topology::create(plugin, "moon base"); }),
              HasSubstr("describing the hardware 'moon base'"));
  Topology topology = Topology::of(shared_client(plugin, 1));
  EXPECT_EQ(topology.platform_name(), "cpu");
  EXPECT_FALSE(topology.devices().empty());
  Program program = topology.compile(R"(module @m { func.func @main(%a: tensor<8xf32>) -> tensor<8xf32> {
    %0 = stablehlo.add %a, %a : tensor<8xf32>
    return %0 : tensor<8xf32> } })",
                                     {}, "absent");
  EXPECT_EQ(program.num_outputs(), 1u);
  EXPECT_EQ(program.memory().arguments, 32);
  EXPECT_THAT(error_of([&] { topology.compile("nonsense", {}, "absent"); }),
              HasSubstr("compiling absent for absent hardware"));
}

}  // namespace
}  // namespace gavel::pjrt
