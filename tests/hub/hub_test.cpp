// Models of the Hugging Face hub: names, the cache, and downloads from a small server that behaves like the hub.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/loopback.h"
#include "base/scoped_variable.h"
#include "hub/blob_file.h"
#include "hub/cache.h"
#include "hub/content_hash.h"
#include "hub/fetch.h"
#include "hub/listing.h"
#include "hub/local_hub.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

template <class Do>
std::string error_of(Do act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(HubName, IsToldFromAPath) {
  for (const char* path :
       {"smollm2", "./a/b",   "../a/b",   "/a/b", "a/b/c",           "a/b/",       "a/",     "/b",
        "a//b",    "~/b",     "a/b.gguf", "a/b@", "a/b@..",          "a/b@x/../y", "a--b/c", "a/b..c",
        "a b/c",   "a/b@x y", ".a/b",     "-a/b", "a/b.safetensors", "C:/b",       ""})
    EXPECT_FALSE(parse_hub_name(path)) << path;
  const auto plain = parse_hub_name("Qwen/Qwen2.5-0.5B_x");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->repository(), "Qwen/Qwen2.5-0.5B_x");
  EXPECT_EQ(plain->revision, "main");
  EXPECT_EQ(parse_hub_name("a/b@v1.0")->revision, "v1.0");
  EXPECT_EQ(parse_hub_name("a/b@refs/pr/7")->revision, "refs/pr/7");
  EXPECT_EQ(parse_hub_name("hf://a/b@feature%2Fx")->revision, "feature/x");
  const auto file = parse_hub_name("hf://a/b@v1/quants/c-Q4_K.gguf");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->revision, "v1");
  EXPECT_EQ(file->file, "quants/c-Q4_K.gguf");
  for (const char* text : {"a/b", "a/b@v1", "a/b@refs/pr/7", "hf://a/b@feature%2Fx/c.gguf", "hf://a/b@refs%2Fx/c.gguf",
                           "hf://a/b.gguf", "hf://a/b/q/c.gguf"})
    EXPECT_EQ(parse_hub_name(text)->text(), text);
  for (const char* wrong :
       {"hf://a", "hf://a/b/c.bin", "hf://a/b/../c.gguf", "hf://a/b@/c.gguf", "hf:///b", "hf://a/b/", "hf://a/b/c/"})
    EXPECT_THAT(error_of([&] { parse_hub_name(wrong); }), HasSubstr("expected hf://ORG/NAME")) << wrong;
}

TEST(HubName, FilesOfStrangersStayInTheirFolder) {
  for (const char* name : {"model.safetensors", "a/b-00001-of-00002.gguf", "with space.json"})
    EXPECT_TRUE(is_plain_file_name(name)) << name;
  for (const char* name : {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "a\nb", "a\\b", "a\x1b[0m"})
    EXPECT_FALSE(is_plain_file_name(name)) << name;
  EXPECT_THAT(gguf_parts("q/a-00002-of-00003.gguf"),
              ElementsAre("q/a-00001-of-00003.gguf", "q/a-00002-of-00003.gguf", "q/a-00003-of-00003.gguf"));
  EXPECT_THAT(gguf_parts("a-00004-of-00003.gguf"), ElementsAre("a-00004-of-00003.gguf"));
}

TEST(HubHash, IsGitsAndLfs) {
  const TempFolder folder;
  const fs::path file = folder.file("x", "hello\n");
  EXPECT_EQ(content_hash(file, false), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(content_hash(file, true), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

TEST(HubSettings, FollowTheEnvironment) {
  const TempFolder home;
  const ScopedVariable own("HOME", home.path().string()), token("HF_TOKEN", ""), path("HF_TOKEN_PATH", ""),
      cache("HF_HUB_CACHE", ""), old("HUGGINGFACE_HUB_CACHE", ""), hf("HF_HOME", ""), xdg("XDG_CACHE_HOME", ""),
      endpoint("HF_ENDPOINT", ""), offline("HF_HUB_OFFLINE", "");
  EXPECT_EQ(hub_settings().cache, home.path() / ".cache/huggingface/hub");
  EXPECT_EQ(hub_settings().endpoint, "https://huggingface.co");
  EXPECT_FALSE(hub_settings().offline);
  const ScopedVariable xdg_set("XDG_CACHE_HOME", "/x");
  EXPECT_EQ(hub_settings().cache, "/x/huggingface/hub");
  const ScopedVariable hf_set("HF_HOME", home.path().string());
  EXPECT_EQ(hub_settings().cache, home.path() / "hub");
  home.file("token", " hf_secret\n");
  EXPECT_EQ(hub_settings().token, "hf_secret");
  EXPECT_EQ(hub_settings().token_source, (home.path() / "token").string());
  const ScopedVariable token_set("HF_TOKEN", "hf_other"), cache_set("HF_HUB_CACHE", "~/c"),
      endpoint_set("HF_ENDPOINT", "https://mirror.example/"), offline_set("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(hub_settings().token, "hf_other");
  EXPECT_EQ(hub_settings().cache, home.path() / "c");
  EXPECT_EQ(hub_settings().endpoint, "https://mirror.example");
  EXPECT_TRUE(hub_settings().offline);
  // A second header can't be slipped in.
  const ScopedVariable torn("HF_TOKEN", "a\r\nX: y");
  EXPECT_THAT(error_of([] { hub_settings(); }), HasSubstr("HF_TOKEN: holds no token"));
}

TEST(HubListing, IsReadWithinBounds) {
  const std::string commit(40, 'b');
  EXPECT_THAT(error_of([] { parse_listing("[]", "the place"); }), HasSubstr("the place: expected the hub's account"));
  EXPECT_THAT(error_of([] { parse_listing(R"({"sha":"../..","siblings":[]})", "p"); }), HasSubstr("'sha'"));
  EXPECT_THAT(error_of([] { parse_listing(std::string(100000, '['), "p"); }), HasSubstr("nested deeper"));
  const HubListing listing =
      parse_listing(R"({"sha":")" + commit + R"(","siblings":[{"rfilename":"../../.bashrc","size":1,"blobId":")" +
                        commit + R"("},7,{"rfilename":"a.json","size":-5,"blobId":")" + commit +
                        R"("},{"rfilename":"b.json","size":2,"blobId":")" + commit +
                        R"("},{"rfilename":"c.json","size":2,"blobId":"../x"}]})",
                    "p");
  ASSERT_EQ(listing.files.size(), 3u);
  EXPECT_EQ(listing.find("a.json")->hash, "");
  EXPECT_EQ(listing.find("b.json")->hash, commit);
  EXPECT_EQ(listing.find("c.json")->hash, "");
}

class HubDownload : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
    const fs::path golden = fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden";
    hub_.files["config.json"] = read_text(golden / "config.json");
    hub_.files["model.safetensors"] = read_text(golden / "model.safetensors");
    hub_.files["tokenizer.json"] = "{}";
    hub_.files["README.md"] = "not needed";
    hub_.files["pytorch_model.bin"] = "not needed";
    settings_.endpoint = hub_.hub.address();
    settings_.cache = cache_.path() / "hub";
    settings_.token_file = "/nowhere/token";
    settings_.retry_seconds = 0.01;
  }

  fs::path fetch(const std::string& name = "tiny/judge", const HubNeed& need = {}, bool refresh = false) {
    return fetch_from_hub(*parse_hub_name(name), need, settings_, refresh);
  }
  std::string fetch_error(const std::string& name = "tiny/judge") {
    return error_of([&] { fetch(name); });
  }
  fs::path repository() const { return settings_.cache / "models--tiny--judge"; }
  fs::path blob(const std::string& name) const { return repository() / "blobs" / hub_.hash(name); }
  size_t asked() const { return hub_.hub.requests().size() + hub_.store.requests().size(); }
  /** Names in blobs/ that are no whole files. */
  std::vector<std::string> unfinished() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(repository() / "blobs"))
      if (entry.path().has_extension()) names.push_back(entry.path().filename().string());
    return names;
  }

  const ScopedVariable no_proxy_{"no_proxy", "127.0.0.1"};
  const TempFolder cache_;
  LocalHub hub_;
  HubSettings settings_;
};

TEST_F(HubDownload, LaysFilesOutAsHuggingFaceHubDoes) {
  const fs::path folder = fetch();
  EXPECT_EQ(folder, repository() / "snapshots" / hub_.commit);
  EXPECT_EQ(read_text(repository() / "refs/main"), hub_.commit);
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    EXPECT_EQ(fs::read_symlink(folder / name), fs::path("../../blobs") / hub_.hash(name)) << name;
    EXPECT_EQ(read_text(folder / name), hub_.files[name]) << name;
  }
  EXPECT_FALSE(fs::exists(folder / "README.md"));
  EXPECT_FALSE(fs::exists(folder / "pytorch_model.bin"));
  EXPECT_THAT(unfinished(), ElementsAre());
  // What is there is used without asking.
  const size_t before = asked();
  EXPECT_EQ(fetch(), folder);
  EXPECT_EQ(asked(), before);
  // And through the name that a recipe has.
  const ScopedVariable cache("HF_HUB_CACHE", settings_.cache.string()), offline("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(resolve_model_path("tiny/judge"), folder);
  EXPECT_EQ(ModelFiles::open("hf://tiny/judge").config().num_hidden_layers, 2);
  EXPECT_EQ(resolve_model_path("tiny/judge@" + hub_.commit), folder);
  EXPECT_EQ(asked(), before);
}

TEST_F(HubDownload, AFolderOfThatNameComesFirst) {
  const fs::path here = fs::current_path();
  const TempFolder scratch;
  fs::current_path(scratch.path());
  fs::create_directories("tiny/judge");
  EXPECT_FALSE(is_hub_model("tiny/judge"));
  EXPECT_EQ(resolve_model_path("tiny/judge"), "tiny/judge");
  fetch_model("tiny/judge");
  fs::current_path(here);
  EXPECT_EQ(asked(), 0u);
}

TEST_F(HubDownload, WhatIsNotInTheCacheIsNotAskedForByReading) {
  const ScopedVariable cache("HF_HUB_CACHE", settings_.cache.string()), endpoint("HF_ENDPOINT", settings_.endpoint);
  EXPECT_THAT(error_of([] { resolve_model_path("tiny/judge"); }),
              AllOf(HasSubstr("tiny/judge: it is no file or folder here"), HasSubstr("gavel doctor --fetch tiny/judge"),
                    HasSubstr(settings_.cache.string())));
  EXPECT_EQ(asked(), 0u);
}

TEST_F(HubDownload, OnlyWhatIsNeededAndMissing) {
  const fs::path folder = fetch("tiny/judge", {.weights = false});
  EXPECT_TRUE(fs::exists(folder / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  EXPECT_TRUE(hub_.store.requests().empty());
  settings_.offline = true;
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("HF_HUB_OFFLINE"), HasSubstr("without model.safetensors")));
  EXPECT_THAT(fetch_error("tiny/judge@v2"), HasSubstr("no revision v2"));
  settings_.offline = false;
  const size_t before = asked();
  fetch();
  EXPECT_EQ(asked(), before + 3);  // the account, and the weights by way of the hub
  EXPECT_TRUE(fs::exists(folder / "model.safetensors"));
}

TEST_F(HubDownload, TheTokenGoesToTheHubAlone) {
  hub_.token = settings_.token = "hf_secret";
  fetch();
  for (const LocalRequest& request : hub_.hub.requests())
    EXPECT_EQ(request.header("authorization"), "Bearer hf_secret") << request.target;
  ASSERT_EQ(hub_.store.requests().size(), 1u);
  EXPECT_EQ(hub_.store.requests()[0].header("authorization"), "");
}

TEST_F(HubDownload, RefusalsSayWhatToDo) {
  hub_.token = "hf_secret";
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("tiny/judge"), HasSubstr("HF_TOKEN"), HasSubstr("/nowhere/token"),
                                   HasSubstr("is the name right?")));
  settings_.token = "hf_old";
  settings_.token_source = "HF_TOKEN";
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("refuses the token of HF_TOKEN"), Not(HasSubstr("hf_old"))));
  settings_.token = hub_.token;
  hub_.gated = true;
  EXPECT_THAT(fetch_error(),
              HasSubstr("the model is gated: accept its terms at " + hub_.hub.address() + "/tiny/judge"));
  hub_.gated = false;
  EXPECT_THAT(fetch_error("tiny/other"), AllOf(HasSubstr("not found"), HasSubstr("/tiny/other")));
  EXPECT_THAT(fetch_error("tiny/judge@v9"), HasSubstr("no revision v9"));
  EXPECT_THAT(fetch_error("hf://tiny/judge/a.gguf"), HasSubstr("no GGUF files"));
  hub_.files.erase("tokenizer.json");
  EXPECT_THAT(fetch_error(), HasSubstr("no tokenizer.json"));
  hub_.files.erase("model.safetensors");
  EXPECT_THAT(fetch_error(), HasSubstr("there is pytorch_model.bin"));
  EXPECT_FALSE(fs::exists(repository() / "refs"));
  // What another host says is not about the token.
  hub_.files["model.safetensors"] = hub_.files["tokenizer.json"] = "{}";
  hub_.store.next({403, {}, ""});
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("leads for model.safetensors to " + hub_.store.address()),
                                   HasSubstr("status 403"), Not(HasSubstr("token"))));
  // Nobody there.
  settings_.endpoint = "http://127.0.0.1:1";
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("can't be fetched from http://127.0.0.1:1"), HasSubstr("HF_ENDPOINT")));
}

TEST_F(HubDownload, AGgufFileIsNamedAndItsPartsCome) {
  hub_.files = {{"q/a-00001-of-00002.gguf", "GGUF one"}, {"q/a-00002-of-00002.gguf", "GGUF two"}, {"b.gguf", "GGUF b"}};
  EXPECT_THAT(fetch_error(), AllOf(HasSubstr("hf://tiny/judge/b.gguf"), HasSubstr("q/a-00002-of-00002.gguf")));
  EXPECT_THAT(fetch_error("hf://tiny/judge/c.gguf"), AllOf(HasSubstr("no file c.gguf"), HasSubstr("b.gguf")));
  const fs::path file = fetch("hf://tiny/judge/q/a-00001-of-00002.gguf");
  EXPECT_EQ(file, repository() / "snapshots" / hub_.commit / "q/a-00001-of-00002.gguf");
  EXPECT_EQ(read_text(file), "GGUF one");
  EXPECT_EQ(read_text(file.parent_path() / "a-00002-of-00002.gguf"), "GGUF two");
  EXPECT_EQ(fs::read_symlink(file), fs::path("../../../blobs") / hub_.hash("q/a-00001-of-00002.gguf"));
  EXPECT_FALSE(fs::exists(repository() / "snapshots" / hub_.commit / "b.gguf"));
}

TEST_F(HubDownload, ShardsComeByTheirIndex) {
  hub_.files.erase("model.safetensors");
  hub_.files["model-1.safetensors"] = "one";
  hub_.files["model-2.safetensors"] = "two";
  hub_.files["consolidated.safetensors"] = "another form of the same";
  hub_.files["model.safetensors.index.json"] =
      R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-1.safetensors"}})";
  const fs::path folder = fetch();
  EXPECT_EQ(read_text(folder / "model-2.safetensors"), "two");
  EXPECT_FALSE(fs::exists(folder / "consolidated.safetensors"));
  EXPECT_EQ(hub_.store.requests().size(), 2u);
  // A cache without one of them is not whole.
  fs::remove(fs::canonical(folder / "model-2.safetensors"));
  const auto cached = find_snapshot(settings_, *parse_hub_name("tiny/judge"), {});
  ASSERT_TRUE(cached);
  EXPECT_THAT(cached->missing, ElementsAre("model-2.safetensors"));
  fetch();
  EXPECT_EQ(read_text(folder / "model-2.safetensors"), "two");
  hub_.files["model.safetensors.index.json"] = R"({"weight_map":{"a":"../../../x.safetensors"}})";
  hub_.commit[0] = 'f';
  EXPECT_THAT(error_of([&] { fetch("tiny/judge", {}, true); }), HasSubstr("must be the name of a file within"));
  // The branch stays what it was.
  EXPECT_EQ(read_text(repository() / "refs/main")[0], '0');
}

TEST_F(HubDownload, ABusyHubIsAskedAgain) {
  hub_.hub.next({429, {{"Retry-After", "0"}}, "slow down"});
  hub_.hub.next({503, {}, ""});
  EXPECT_TRUE(fs::exists(fetch() / "model.safetensors"));
  fs::remove_all(settings_.cache);
  for (int i = 0; i < 5; ++i) hub_.hub.next({429, {}, ""});
  EXPECT_THAT(fetch_error(), HasSubstr("asked too often"));
  hub_.hub.next({429, {{"Retry-After", "86400"}}, ""});
  const size_t before = asked();
  EXPECT_THAT(fetch_error(), HasSubstr("asked too often"));
  EXPECT_EQ(asked(), before + 1);  // nobody waits for a day
}

TEST_F(HubDownload, ATornTransferGoesOnWhereItEnded) {
  const std::string& weights = hub_.files["model.safetensors"];
  hub_.store.next({200, {}, weights, 10000});
  hub_.store.next({206, {{"Content-Range", "bytes 10000-44327/44328"}}, weights.substr(10000), 5000});
  EXPECT_EQ(read_text(fetch() / "model.safetensors"), weights);
  const auto requests = hub_.store.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].header("range"), "");
  EXPECT_EQ(requests[1].header("range"), "bytes=10000-");
  EXPECT_EQ(requests[2].header("range"), "bytes=15000-");
  EXPECT_THAT(unfinished(), ElementsAre());
}

TEST_F(HubDownload, WhatAnEarlierProcessLeftIsGoneOnWith) {
  const std::string& weights = hub_.files["model.safetensors"];
  fs::create_directories(repository() / "blobs");
  std::ofstream(blob("model.safetensors").string() + ".incomplete") << weights.substr(0, 1000);
  EXPECT_EQ(read_text(fetch() / "model.safetensors"), weights);
  EXPECT_EQ(hub_.store.requests().at(0).header("range"), "bytes=1000-");
  // What it left can be damaged, too long, or of a server that knows no ranges.
  for (const std::string& left : {std::string(1000, 'x'), std::string(100000, 'x')}) {
    fs::remove(blob("model.safetensors"));
    std::ofstream(blob("model.safetensors").string() + ".incomplete") << left;
    EXPECT_EQ(read_text(fetch() / "model.safetensors"), weights);
  }
  fs::remove(blob("model.safetensors"));
  std::ofstream(blob("model.safetensors").string() + ".incomplete") << weights.substr(0, 1000);
  hub_.store.next({200, {}, weights});
  EXPECT_EQ(read_text(fetch() / "model.safetensors"), weights);
  EXPECT_THAT(unfinished(), ElementsAre());
}

TEST_F(HubDownload, WhatIsNotWhatTheHubSaysIsRefused) {
  hub_.wrong_hash["model.safetensors"] = std::string(64, '0');
  EXPECT_THAT(fetch_error(),
              AllOf(HasSubstr("model.safetensors is not what the hub says"), HasSubstr("nothing was kept")));
  EXPECT_THAT(unfinished(), ElementsAre());
  EXPECT_FALSE(fs::exists(repository() / "refs/main"));
  hub_.wrong_hash.clear();
  hub_.wrong_hash["config.json"] = std::string(40, '0');
  EXPECT_THAT(fetch_error(), HasSubstr("config.json is not what the hub says"));
  hub_.wrong_hash.clear();
  hub_.store.next({200, {}, hub_.files["model.safetensors"] + "and more"});
  EXPECT_THAT(fetch_error(), HasSubstr("more bytes came than the 44328"));
  EXPECT_THAT(unfinished(), ElementsAre());
  EXPECT_TRUE(fs::exists(fetch() / "model.safetensors"));
}

TEST_F(HubDownload, RedirectsHaveAnEnd) {
  hub_.hub.next({302, {{"Location", "ftp://127.0.0.1/x"}}, ""});
  EXPECT_THAT(fetch_error(), HasSubstr("not followed"));
  hub_.hub.next({302, {{"Location", "file:///etc/passwd"}}, ""});
  EXPECT_THAT(fetch_error(), HasSubstr("not followed"));
  for (int i = 0; i < 20; ++i) hub_.hub.next({307, {{"Location", "/again"}}, ""});
  EXPECT_THAT(fetch_error(), HasSubstr("more than 10 times"));
}

TEST_F(HubDownload, ARevisionIsAFileOfItsOwn) {
  fetch("tiny/judge@refs/pr/1");
  EXPECT_EQ(read_text(repository() / "refs/refs/pr/1"), hub_.commit);
  fetch("tiny/judge@" + hub_.commit);
  EXPECT_FALSE(fs::exists(repository() / "refs/main"));
  fetch();
  const std::string old = hub_.commit;
  hub_.commit = std::string(40, 'e');
  EXPECT_EQ(fetch().filename(), old);
  EXPECT_EQ(fetch("tiny/judge", {}, true).filename(), hub_.commit);
  EXPECT_EQ(fetch().filename(), hub_.commit);
  EXPECT_EQ(hub_.store.requests().size(), 1u);  // the blobs are the same
}

TEST_F(HubDownload, OneOfTwoProcessesFetches) {
  fs::create_directories(settings_.cache / ".locks/models--tiny--judge");
  std::optional<BlobLock> other(
      std::in_place, settings_.cache / ".locks/models--tiny--judge" / (hub_.hash("config.json") + ".lock"), [] {});
  std::thread second([&] { fetch(); });
  while (hub_.hub.requests().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  EXPECT_FALSE(fs::exists(blob("config.json")));
  // The other one has it now.
  write_file(blob("config.json"), hub_.files["config.json"]);
  other.reset();
  second.join();
  for (const LocalRequest& request : hub_.hub.requests()) EXPECT_THAT(request.target, Not(HasSubstr("config.json")));
}

}  // namespace
}  // namespace gavel
