// One of the processes that tests/cluster/processes_test.cpp has mpirun start. Exit status 0: all was as it
// should be.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "cluster/process_group.h"
#include "engine/device_mesh.h"
#include "engine/programs.h"
#include "pjrt/key_value_callbacks.h"
#include "report/metrics.h"
#include "setup/open_device.h"
#include "setup/run_data.h"
#include "setup/run_options.h"
#include "spec/family.h"
#include "train/run_training.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

void expect(bool right, const std::string& what) {
  if (!right) fail("expected: {}", what);
}

void probe_store(const ProcessGroup& group) {
  expect(group.count == 2, fmt::format("2 processes, found {}", group.count));
  KeyValueStore& store = *group.store;
  const int other = 1 - group.index;
  // Every byte, and more of them than one message of the launcher's takes.
  std::string large(20 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 + static_cast<size_t>(group.index));
  std::string long_key(2000, 'k');
  if (group.index == 0) expect(!store.try_get("late/1"), "nothing under a key that is put later");
  Exchange together(group, "together");
  together("");
  store.put(fmt::format("late/{}", group.index), fmt::format("from {}", group.index));
  expect(store.get(fmt::format("late/{}", other), 60000) == fmt::format("from {}", other), "the other's value");
  expect(store.try_get(fmt::format("late/{}", other)).has_value(), "a value that is there without waiting");
  store.put(long_key + std::to_string(group.index), "long");
  expect(store.get(long_key + std::to_string(other), 60000) == "long", "a value under a long key");
  expect(!store.try_get(long_key + "2"), "long keys that differ at their end alone to differ");
  std::vector<std::string> all = together(large);
  expect(all.size() == 2 && all[static_cast<size_t>(group.index)] == large, "the own text at its place");
  for (size_t i = 0; i < large.size(); ++i)
    if (all[static_cast<size_t>(other)][i] != static_cast<char>(i * 7 + static_cast<size_t>(other)))
      fail("expected: the other's text, byte {} differs", i);
  for (int round = 0; round < 50; ++round) {
    std::string own = fmt::format("{} of {}", round, group.index);
    expect(together(own)[static_cast<size_t>(other)] == fmt::format("{} of {}", round, other), "round after round");
  }
  together("");
  if (group.index == 0) store.erase("late/0");
  together("");
  expect(!store.try_get("late/0"), "an erased key to be gone");
  bool waited = false;
  try {
    store.get("never", 1000);
  } catch (const Error&) {
    waited = true;
  }
  expect(waited, "waiting for a key that is never put to end");
  Announcement announcement(group, "said");
  for (int round = 0; round < 200; ++round) {
    std::string said = announcement(fmt::format("{} by {}", round, group.index));
    expect(said == fmt::format("{} by 0", round), "process 0's word, found " + said);
    if (round % 50 == 0) together("");
  }
  require_same(group, "same", "text", "the text");
  bool refused = false;
  try {
    require_same(group, "other", std::to_string(group.index), "the recipe");
  } catch (const Error& error) {
    refused = std::strstr(error.what(), "the recipe of process 1 differs") != nullptr;
  }
  expect(refused, "different texts to be refused");
}

/** As a plugin calls them. */
void probe_callbacks(const ProcessGroup& group) {
  auto create = pjrt::make_args<PJRT_Client_Create_Args>();
  pjrt::attach(create, *group.store);
  static std::string last_error;
  static PJRT_Error_Code last_code;
  PJRT_CallbackError on_error = [](PJRT_Error_Code code, const char* text, size_t size) {
    last_code = code;
    last_error.assign(text, size);
    return reinterpret_cast<PJRT_Error*>(&last_error);
  };
  const std::string own = fmt::format("topology/{}", group.index), others = fmt::format("topology/{}", 1 - group.index);
  const std::string value("a\0b", 3);
  auto put = pjrt::make_args<PJRT_KeyValuePutCallback_Args>();
  put.key = own.data(), put.key_size = own.size();
  put.value = value.data(), put.value_size = value.size();
  put.callback_error = &on_error, put.user_arg = create.kv_put_user_arg;
  expect(create.kv_put_callback(&put) == nullptr, "put to work");
  auto get = pjrt::make_args<PJRT_KeyValueGetCallback_Args>();
  get.key = others.data(), get.key_size = others.size(), get.timeout_in_ms = 60000;
  get.callback_error = &on_error, get.user_arg = create.kv_get_user_arg;
  expect(create.kv_get_callback(&get) == nullptr, "get to work");
  expect(std::string(get.value, get.value_size) == value, "the other's value");
  get.value_deleter_callback(get.value);
  auto try_get = pjrt::make_args<PJRT_KeyValueTryGetCallback_Args>();
  try_get.key = others.data(), try_get.key_size = others.size();
  try_get.callback_error = &on_error, try_get.user_arg = create.kv_try_get_user_arg;
  expect(create.kv_try_get_callback(&try_get) == nullptr, "try_get to work");
  expect(std::string(try_get.value, try_get.value_size) == value, "the other's value");
  try_get.value_deleter_callback(try_get.value);
  try_get.key = "nothing", try_get.key_size = 7;
  expect(create.kv_try_get_callback(&try_get) != nullptr && last_code == PJRT_Error_Code_NOT_FOUND, "NOT_FOUND");
  get.key = "nothing", get.key_size = 7, get.timeout_in_ms = 500;
  expect(create.kv_get_callback(&get) != nullptr && last_code == PJRT_Error_Code_DEADLINE_EXCEEDED,
         "DEADLINE_EXCEEDED");
}

std::vector<const HostTensor*> tensors(const Batch& batch) {
  return {&batch.input_ids,  &batch.positions, &batch.segment_ids, &batch.dropout_rows,
          &batch.last_index, &batch.labels,    &batch.weights};
}

std::string bytes_of(const HostTensor& tensor) {
  return {static_cast<const char*>(tensor.data()), tensor.bytes()};
}

/** What this process's devices (four of eight) get of each batch, put together with what the other's get, is
 * the batch that one process makes. */
void probe_data(const ProcessGroup& group, const fs::path& folder, const std::vector<std::string>& settings) {
  std::vector<std::string> all = {"model.path=none",
                                  "output=none",
                                  "data.max_length=64",
                                  "data.valid=0.2",
                                  "data.train=" + (folder / "train.csv").string(),
                                  "train.batch_size=8"};
  all.insert(all.end(), settings.begin(), settings.end());
  Recipe recipe = parse_recipe("", "probe", all);
  Tokenizer tokenizer = Tokenizer::load(folder / "tokenizer.json");
  RunData data = RunDataLoader(recipe, tokenizer, Purpose::kTrain, group).get();
  const Mesh mesh{4, 1, 2};
  StepOptions step;
  step.model.spec = decoder_spec(built_in_shape("smollm2-135m"));
  step.model.placement = Placement(mesh, {}, step.model.spec);
  std::vector<DimensionAxes> axes;
  for (const BatchArgument& argument : batch_arguments(step, {8, 1, 8})) axes.push_back(argument.axes);
  std::vector<int64_t> places;
  for (int64_t place = 0; place < mesh.devices(); ++place)
    if (place / 4 == group.index) places.push_back(place);

  std::optional<RunData> alone;
  if (group.is_first()) {
    all.push_back("data.cache=false");
    alone = RunDataLoader(parse_recipe("", "probe", all), tokenizer).get();
  }
  Exchange gather(group, "gather");
  int64_t steps = 0;
  auto compare = [&](const TokenizedDataset& tokens, const TokenizedDataset* whole, BatchOptions options) {
    Batcher batcher(tokens, options);
    std::optional<Batcher> expected;
    if (whole != nullptr) expected.emplace(*whole, options);
    for (int64_t step = 0; step < 2 * batcher.steps_per_epoch(); ++step) {
      StepBatches own = batcher.step(step);
      StepBatches one = expected ? expected->step(step) : StepBatches();
      for (size_t micro = 0; micro < own.micro.size(); ++micro) {
        std::vector<const HostTensor*> mine = tensors(own.micro[micro]);
        for (size_t t = 0; t < mine.size(); ++t) {
          std::string text;
          for (const HostTensor& part : parts_of(*mine[t], mesh, axes[t], places)) text += bytes_of(part);
          std::vector<std::string> parts = gather(text);
          if (!expected) continue;
          HostTensor again(mine[t]->dtype(), tensors(one.micro.at(micro))[t]->shape());
          for (int64_t place = 0; place < mesh.devices(); ++place) {
            Shard shard = shard_of(mesh, axes[t], again.shape(), place);
            HostTensor part(again.dtype(), shard.shape);
            const std::string& from = parts[static_cast<size_t>(place / 4)];
            expect(from.size() == 4 * part.bytes(), "parts of the size of the mesh's");
            std::memcpy(part.mutable_data(), from.data() + static_cast<size_t>(place % 4) * part.bytes(), part.bytes());
            paste_tensor(again, shard, part);
          }
          expect(bytes_of(again) == bytes_of(*tensors(one.micro[micro])[t]),
                 fmt::format("tensor {} of step {} to be that of one process", t, step));
        }
      }
      ++steps;
    }
  };
  BatchOptions options = batch_options(recipe, device_traits("cpu", true), mesh);
  compare(data.train.tokens, alone ? &alone->train.tokens : nullptr, options);
  options.shuffle = options.drop_last = false;
  compare(data.valid->tokens, alone ? &alone->valid->tokens : nullptr, options);
  if (group.is_first())
    fmt::print("{} steps, tokens {}\n", steps, data.from_cache ? "from the cache" : "made together");
}

/** Both processes run all of it on a device of their own, since the CPU plugin joins none: what they do
 * together (data, folder, signals, checkpoints) is as it is with a device that does. With `stop`, process 0
 * gets a signal after two steps. */
void probe_train(const ProcessGroup& group, const fs::path& recipe_file, bool stop,
                 const std::vector<std::string>& settings) {
  Recipe recipe = load_recipe(recipe_file, settings);
  std::thread signaller;
  if (stop && group.is_first())
    signaller = std::thread([file = fs::path(recipe.output) / "metrics.jsonl"] {
      using namespace std::chrono_literals;
      for (int tries = 0; tries < 3000; ++tries, std::this_thread::sleep_for(20ms)) {
        if (!fs::exists(file) || read_metrics(file).size() < 3) continue;
        ::kill(::getpid(), SIGTERM);
        return;
      }
    });
  RunOptions options;
  options.group = group;
  TrainingResult result = run_training(recipe, options);
  if (signaller.joinable()) signaller.join();
  expect((result.signal != 0) == stop, "both processes to stop for the signal that one of them got");
  std::vector<std::string> steps = Exchange(group, "steps")(std::to_string(result.steps));
  expect(steps[0] == steps[1], fmt::format("the same steps, found {} and {}", steps[0], steps[1]));
}

/** For the error of a plugin that is asked to join processes although it can't. */
void probe_plugin(const ProcessGroup& group) {
  auto plugin = pjrt::Plugin::load("cpu");
  pjrt::Options options{{"node_id", int64_t{group.index}}, {"num_nodes", int64_t{group.count}}};
  try {
    auto client = pjrt::Client::create(plugin, options, group.store);
    fmt::print("process {} of {}: {} of {} devices are its own\n", client->process_index(), group.count,
               client->devices().size(), client->global_devices().size());
  } catch (const Error& error) {
    fmt::print("{}\n", error.what());
  }
}

int run(int argc, char** argv) {
  // Before there are threads: a signal is for those that run_training makes to take it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ProcessGroup group = join_process_group();
  try {
    std::string what = argc > 1 ? argv[1] : "";
    if (what == "store") probe_store(group);
    if (what == "callbacks") probe_callbacks(group);
    if (what == "data") probe_data(group, argv[2], {argv + 3, argv + argc});
    if (what == "train") probe_train(group, argv[2], false, {argv + 3, argv + argc});
    if (what == "train-and-stop") probe_train(group, argv[2], true, {argv + 3, argv + argc});
    if (what == "plugin") probe_plugin(group);
  } catch (const std::exception& error) {
    fmt::print(stderr, "process {}: {}\n", group.index, error.what());
    return 1;
  }
  if (group.is_first()) fmt::print("{} processes: ok\n", group.count);
  return 0;
}

}  // namespace
}  // namespace gavel

int main(int argc, char** argv) {
  return gavel::run(argc, argv);
}
