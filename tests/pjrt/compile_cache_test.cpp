#include "pjrt/compile_cache.h"

#include <sys/stat.h>

#include <chrono>

#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kText = R"(module @double {
  func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {
    %0 = stablehlo.add %a, %a : tensor<4xf32>
    return %0 : tensor<4xf32>
  }
})";
constexpr std::string_view kOther = R"(module @square {
  func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {
    %0 = stablehlo.multiply %a, %a : tensor<4xf32>
    return %0 : tensor<4xf32>
  }
})";

class CompileCache : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto plugin = GetParam() == "default" ? cpu_plugin() : older_cpu_plugin();
    if (!plugin) GTEST_SKIP() << "the plugin was not fetched (tools/fetch_packages.py)";
    client_ = shared_client(plugin, 1);
  }
  bool hit(const CacheOptions& cache, std::string_view text = kText, const CompileOptions& options = {}) {
    CachedCompile compiled = compile_cached(*client_, text, options, cache);
    Buffer a = client_->to_device(HostTensor::from<float>({1, 2, 3, 4}, {4}));
    auto result = compiled.executable.run({&a})[0].to_host();
    EXPECT_EQ(result.as<float>()[2], text == kText ? 6 : 9);
    EXPECT_GT(compiled.seconds, 0);
    return compiled.hit;
  }
  std::vector<fs::path> entries() {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(scratch_.path()))
      if (entry.path().extension() == ".xla") paths.push_back(entry.path());
    return paths;
  }
  ScratchFolder scratch_;
  std::shared_ptr<Client> client_;
};

INSTANTIATE_TEST_SUITE_P(Plugins, CompileCache, ::testing::Values("default", "older"),
                         [](const auto& info) { return info.param; });

TEST_P(CompileCache, SecondCompilationIsLoaded) {
  CacheOptions cache{.folder = scratch_.path()};
  EXPECT_FALSE(hit(cache));
  EXPECT_EQ(entries().size(), 1u);
  EXPECT_TRUE(hit(cache));
}

TEST_P(CompileCache, AnyPartOfTheKeyMakesAnotherEntry) {
  CacheOptions cache{.folder = scratch_.path()};
  CacheOptions other_build{.folder = scratch_.path(), .extra_key = "build 2"};
  CompileOptions other_options{.overrides = {{"xla_cpu_enable_fast_math", true}}};
  EXPECT_FALSE(hit(cache));
  EXPECT_FALSE(hit(cache, kOther));
  EXPECT_FALSE(hit(other_build));
  EXPECT_FALSE(hit(cache, kText, other_options));
  EXPECT_EQ(entries().size(), 4u);
  EXPECT_TRUE(hit(cache, kOther));
  EXPECT_TRUE(hit(other_build));
  EXPECT_TRUE(hit(cache, kText, other_options));
}

TEST_P(CompileCache, DamagedEntriesAreReplaced) {
  CacheOptions cache{.folder = scratch_.path()};
  EXPECT_FALSE(hit(cache));
  fs::path path = entries().at(0);
  std::string whole = read_text(path);
  std::string flipped = whole;
  flipped[whole.size() - whole.size() / 4] ^= 1;
  std::string other_program = whole;
  other_program[whole.find("@double")] = '!';
  for (const std::string& damaged : {std::string(), whole.substr(0, 10), whole.substr(0, whole.size() / 2),
                                     whole.substr(0, whole.size() - 1), whole + "x", flipped, other_program}) {
    write_file(path, damaged);
    EXPECT_FALSE(hit(cache)) << damaged.size();
    EXPECT_TRUE(hit(cache));
  }
}

// Whoever can write into the folder, as a backup or a shared home, but does not know the secret.
TEST_P(CompileCache, AnEntryOfAnotherSecretIsNotLoaded) {
  const fs::path here = scratch_.path() / "here", there = scratch_.path() / "there";
  EXPECT_FALSE(hit({.folder = here}));
  EXPECT_FALSE(hit({.folder = there}));
  std::string name;
  for (const auto& entry : fs::directory_iterator(here))
    if (entry.path().extension() == ".xla") name = entry.path().filename();
  ASSERT_TRUE(fs::exists(there / name));
  EXPECT_NE(read_text(here / name), read_text(there / name));
  fs::copy_file(there / name, here / name, fs::copy_options::overwrite_existing);
  EXPECT_FALSE(hit({.folder = here}));
  EXPECT_TRUE(hit({.folder = here}));
}

TEST_P(CompileCache, ASecretThatOthersKnowIsNone) {
  const CacheOptions cache{.folder = scratch_.path() / "cache"};
  const fs::path secret = cache.folder / ".key";
  EXPECT_FALSE(hit(cache));
  EXPECT_TRUE(hit(cache));
  EXPECT_EQ(fs::status(secret).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  for (fs::perms given : {fs::perms::group_read, fs::perms::others_write}) {
    fs::permissions(secret, given, fs::perm_options::add);
    EXPECT_FALSE(hit(cache));
    EXPECT_FALSE(hit(cache));
    fs::permissions(secret, given, fs::perm_options::remove);
    EXPECT_TRUE(hit(cache));
  }
  const std::string whole = read_text(secret);
  EXPECT_EQ(whole.size(), 32u);
  fs::remove(secret);
  fs::create_symlink(scratch_.path() / "elsewhere", secret);
  write_file(scratch_.path() / "elsewhere", whole);
  EXPECT_FALSE(hit(cache));
  fs::remove(secret);
  EXPECT_FALSE(hit(cache));  // with a new secret
  EXPECT_TRUE(hit(cache));
}

TEST_P(CompileCache, TheFolderIsTheUsersAlone) {
  const mode_t before = ::umask(0);
  const CacheOptions cache{.folder = scratch_.path() / "cache"};
  EXPECT_FALSE(hit(cache));
  ::umask(before);
  EXPECT_EQ(fs::status(cache.folder).permissions(), fs::perms::owner_all);
  fs::permissions(cache.folder, fs::perms::group_all | fs::perms::others_read, fs::perm_options::add);
  EXPECT_TRUE(hit(cache));
  EXPECT_EQ(fs::status(cache.folder).permissions(), fs::perms::owner_all);
}

TEST_P(CompileCache, OldestEntriesGoWhenTheFolderIsFull) {
  CacheOptions cache{.folder = scratch_.path()};
  EXPECT_FALSE(hit(cache));
  fs::path first = entries().at(0);
  uint64_t size = fs::file_size(first);
  // Room for one entry and a half; the first was used an hour ago.
  fs::last_write_time(first, fs::file_time_type::clock::now() - std::chrono::hours(1));
  cache.max_bytes = size + size / 2;
  EXPECT_FALSE(hit(cache, kOther));
  ASSERT_EQ(entries().size(), 1u);
  EXPECT_NE(entries().at(0), first);
  EXPECT_TRUE(hit(cache, kOther));
  EXPECT_FALSE(hit(cache));
}

TEST_P(CompileCache, AnEntryLargerThanTheFolderIsNotKept) {
  CacheOptions cache{.folder = scratch_.path(), .max_bytes = 100};
  EXPECT_FALSE(hit(cache));
  EXPECT_TRUE(entries().empty());
}

TEST_P(CompileCache, NoFolderOrAnUnwritableOneStillCompiles) {
  EXPECT_FALSE(hit({}));
  write_file(scratch_.path() / "file", "in the way");
  CacheOptions blocked{.folder = scratch_.path() / "file" / "cache"};
  EXPECT_FALSE(hit(blocked));
}

}  // namespace
}  // namespace gavel::pjrt
