#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/programs.h"
#include "pjrt/topology.h"
#include "plan/gpus.h"
#include "plan/has_compiler.h"
#include "plan/hlo_stats.h"
#include "plan/ticker.h"
#include "setup/run_options.h"
#include "spec/family.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

Recipe recipe_with(std::vector<std::string> overrides) {
  overrides.insert(overrides.begin(), {"data.train=not-there.csv", "output=none"});
  return parse_recipe("", "test", overrides);
}

TEST(Targets, NamesCountAsTheirMakersDo) {
  Target v3 = find_target("tpu-v3-8");
  EXPECT_EQ(v3.topology, "v3:2x2");
  EXPECT_EQ(v3.devices, 8);
  EXPECT_EQ(v3.capacity_bytes, 16.0 * (1 << 30));
  EXPECT_EQ(find_target("tpu-v4-8").devices, 4);
  EXPECT_EQ(find_target("tpu-v5e-64").topology, "v5e:8x8");
  EXPECT_EQ(find_target("tpu-v5e-64").devices, 64);
  EXPECT_EQ(find_target("h100x8").options.at("topology"), pjrt::OptionValue(std::string("1x1x8")));
  EXPECT_EQ(find_target("cpu", 4).devices, 4);
  for (const std::string& name : target_names()) EXPECT_EQ(find_target(name).name, name);
  EXPECT_THAT(error_of([] { find_target("tpu-v3-9"); }), HasSubstr("did you mean"));
}

TEST(Targets, HaveTheFactsThatATimeIsMadeOf) {
  for (const std::string& name : target_names()) {
    if (name == "cpu") continue;
    Target target = find_target(name);
    EXPECT_GT(target.capacity_bytes, 15e9) << name;
    EXPECT_GT(target.f32_flops, 8e12) << name;
    EXPECT_GE(target.peak_flops(DType::kBF16), target.peak_flops(DType::kF32)) << name;
    EXPECT_GE(target.bandwidth, 300e9) << name;
    EXPECT_GE(target.link_bandwidth, target.devices > 1 ? 16e9 : 0) << name;
  }
  EXPECT_EQ(find_target("l4").name, "l4x1");
  EXPECT_EQ(find_target("a100-40x8").capacity_bytes, 42331013120);
  EXPECT_EQ(find_target("a100-80").bandwidth, 2039e9);
  EXPECT_EQ(find_target("h200x8").link_bandwidth, 450e9);
  EXPECT_EQ(find_target("rtx4090x2").link_bandwidth, 32e9);
  EXPECT_EQ(find_target("rtx5090").peak_flops(DType::kBF16), 209.5e12);
  EXPECT_EQ(find_target("t4").peak_flops(DType::kBF16), 8.1e12);
  EXPECT_THAT(error_of([] { find_target("l40x1"); }), HasSubstr("did you mean"));
  EXPECT_THAT(std::get<std::string>(find_target("l40s").options.at("target_config")),
              AllOf(HasSubstr("major: 8 minor: 9 }"), HasSubstr("memory_bandwidth: 864000000000\n"),
                    HasSubstr("l2_cache_size: 100663296\n")));
}

TEST(Targets, AChipAtACornerHasTheFewestLinks) {
  EXPECT_EQ(find_target("tpu-v5e-1").link_bandwidth, 0);
  EXPECT_EQ(find_target("tpu-v5e-8").link_bandwidth, 2 * 50e9);     // 2x4, not closed
  EXPECT_EQ(find_target("tpu-v5e-128").link_bandwidth, 3 * 50e9);   // 8x16: the longer side is a ring
  EXPECT_EQ(find_target("tpu-v6e-256").link_bandwidth, 4 * 112e9);  // 16x16
  EXPECT_EQ(find_target("tpu-v4-8").link_bandwidth, 2 * 50e9);      // 2x2x1
  EXPECT_EQ(find_target("tpu-v5p-64").link_bandwidth, 3 * 100e9);   // 2x4x4: no whole cubes
  EXPECT_EQ(find_target("tpu-v5p-128").link_bandwidth, 6 * 100e9);  // 4x4x4
}

TEST(Plan, TheWholeRunFollowsFromTheStepWhateverDecides) {
  Plan plan;
  plan.target = find_target("tpu-v5e-8");
  plan.shape = {16, 1024, 16};
  plan.compiled = plan.fits = true;
  plan.compute_dtype = DType::kBF16;
  plan.bounds = {1.77, 0.5, 4.1};
  plan.received_bytes = 410e9;
  plan.collectives.emplace();
  plan.collectives->bytes["all-gather"] = 468e9;
  plan.collectives->calls["all-gather"] = 449;
  plan.total_steps = 20;
  EXPECT_STREQ(plan.bounds.decided_by(), "links");
  EXPECT_THAT(
      format_plan(plan),
      AllOf(HasSubstr("at least 4.10 s, which links decide: 3996 tokens/s at most"),
            HasSubstr("links            4.10 s for 410.00 GB into each device at 100 GB/s (2 links of 50 GB/s)\n"),
            HasSubstr("20 steps of at least 4.10 s: at least 82.00 s, about 205.00 s at 40 %")));
  // Half as many tokens a step halve the products alone.
  plan.data.emplace();
  plan.data->steps_per_epoch = 10;
  plan.data->tokens_per_epoch = 10 * 8192;
  EXPECT_EQ(plan.mean_share(), 0.5);
  EXPECT_EQ(plan.mean_bounds().seconds(), 4.1);
  plan.bounds.links = 1;
  EXPECT_THAT(format_plan(plan), AllOf(HasSubstr("at least 1.77 s, which matrix products decide"),
                                       HasSubstr("20 steps of at least 1.00 s (by links; on average a step has 50 % of "
                                                 "the planned tokens): at least 20.00 s")));
  auto json = nlohmann::json::parse(plan_json(plan));
  EXPECT_EQ(json["least_seconds_per_step"]["decided_by"], "matrix products");
  EXPECT_EQ(json["whole_run"]["least_seconds"], 20);
  EXPECT_EQ(json["whole_run"]["least_seconds_per_step"]["bound"], 1);
  EXPECT_EQ(json["collectives"]["received_bytes_per_device"], 410e9);
}

TEST(Plan, APredictionSaysThatItIsOne) {
  Plan plan;
  plan.target = find_target("h100");
  plan.shape = {16, 1024, 16};
  plan.compiled = plan.fits = true;
  plan.compute_dtype = DType::kBF16;
  plan.useful_flops = 470e12;
  plan.per_device.capacity = plan.target.usable_bytes();
  EXPECT_NEAR(plan.target.usable_bytes() / plan.target.capacity_bytes, 0.92, 1e-9);
  EXPECT_EQ(find_target("tpu-v3-8").usable_bytes(), find_target("tpu-v3-8").capacity_bytes);
  EXPECT_THAT(format_plan(plan), testing::Not(HasSubstr("prediction")));
  EXPECT_TRUE(nlohmann::json::parse(plan_json(plan))["prediction"].is_null());
  plan.prediction.seconds = plan.prediction.kernels = 1.28;
  plan.prediction.work = {
      .flops = 600e12, .float32_flops = 20e12, .attention_flops = 0, .bytes = 910e9, .launches = 5000};
  EXPECT_THAT(
      format_plan(plan),
      AllOf(HasSubstr("prediction         1.28 s a step, 12800 tokens/s, MFU 37.1 %: a prediction from the compiled "
                      "program, not "
                      "measured\n"),
            HasSubstr("taken for it     72 % of the products' peak, 85 % of the memory's, at least 2 us a kernel\n"),
            HasSubstr("executed         620.0 TFLOP (20.00 in float32), 910 GB read and written, 5000 kernels\n"),
            HasSubstr("of 78.15 GB (92 % of its 84.94 GB, GAVEL_CUDA_MEMORY_FRACTION): fits")));
  auto json = nlohmann::json::parse(plan_json(plan));
  EXPECT_EQ(json["prediction"]["measured"], false);
  EXPECT_EQ(json["prediction"]["tokens_per_second"], 12800);
  EXPECT_NEAR(json["prediction"]["mfu"].get<double>(), 0.371, 1e-3);
  EXPECT_EQ(json["prediction"]["executed"]["float32_flops"], 20e12);
  plan.target = find_target("tpu-v6e-8");
  plan.prediction.by_cycles = true;
  EXPECT_THAT(format_plan(plan),
              HasSubstr("taken for it     the compiler's own estimate of cycles at 1.75 GHz, 80 % of the links'\n"));
}

TEST(Plan, ALongCompilationSaysThatItGoesOn) {
  std::mutex mutex;
  std::condition_variable said_enough;
  std::vector<std::string> said;
  {
    Ticker ticker(
        [&](const std::string& text) {
          std::lock_guard lock(mutex);
          said.push_back(text);
          said_enough.notify_all();
        },
        "compiling", 0.01);
    std::unique_lock lock(mutex);
    EXPECT_TRUE(said_enough.wait_for(lock, std::chrono::seconds(30), [&] { return said.size() >= 2; }));
  }
  const size_t count = said.size();
  EXPECT_THAT(said[0], testing::StartsWith("compiling, 0.01s so far"));
  EXPECT_THAT(said[1], HasSubstr("0.02s"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(said.size(), count);  // nothing after its end
}

TEST(Plan, OnTheCpuWithoutFilesOrData) {
  std::vector<std::string> said;
  std::mutex mutex;
  PlanOptions options{.target = "cpu"};
  options.say_every_seconds = 0.01;
  options.say = [&](const std::string& text) {
    std::lock_guard lock(mutex);
    said.push_back(text);
  };
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=2", "data.max_length=64",
                                     "train.layers=scan", "lora.r=4", "train.max_steps=7", "train.warmup_steps=0"}),
                        options);
  ASSERT_GT(said.size(), 2u);
  EXPECT_EQ(said[0], "smollm2-135m on cpu: 1 x this machine");
  EXPECT_EQ(said[1], "compiling a step of 2 x 64 tokens, which can take minutes");
  EXPECT_THAT(said[2], testing::StartsWith("compiling for cpu, 0.01s so far"));
  EXPECT_THAT(format_plan(plan), HasSubstr("whole run            7 steps; no time"));
  EXPECT_TRUE(plan.compiled);
  EXPECT_TRUE(plan.fits);
  EXPECT_EQ(plan.per_device.weights, 2.0 * static_cast<double>(plan.parameters - plan.trained));
  EXPECT_EQ(plan.per_device.optimizer, 8.0 * static_cast<double>(plan.trained));
  EXPECT_GT(plan.per_device.temporaries, 0);
  // Two multiply-adds forward and two for the input gradients per weight and token, once more forward for the
  // scan.
  double weights = static_cast<double>(plan.parameters) - 49152.0 * 576;
  EXPECT_NEAR(plan.flops_per_step / (128 * weights * 6), 1, 0.15);
  EXPECT_LT(plan.useful_flops, plan.flops_per_step);
  EXPECT_THAT(format_plan(plan), HasSubstr("data                 not given"));
  auto json = nlohmann::json::parse(plan_json(plan));
  for (const char* key :
       {"weights_bytes", "trainable_bytes", "optimizer_bytes", "temporaries_bytes", "total_bytes", "capacity_bytes"})
    EXPECT_TRUE(json["per_device"][key].is_number()) << key;
  for (const char* key : {"target", "devices", "fits", "flops_per_step", "compile_seconds"})
    EXPECT_TRUE(json.contains(key)) << key;
}

TEST(Plan, AFrozenHeadTakesMemoryAndIsNotCountedAsTrained) {
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=2", "data.max_length=16",
                                     "train.layers=scan", "lora.r=4", "lora.freeze_head=true"}),
                        {.target = "cpu"});
  constexpr int64_t kAdapters = 30 * 4 * ((576 + 576) + (576 + 192)), kHead = 3 * 576;  // o_proj and v_proj; score
  EXPECT_EQ(plan.trained, kAdapters);
  EXPECT_EQ(plan.per_device.trainable, 4.0 * (kAdapters + kHead));
  EXPECT_EQ(plan.per_device.weights, 2.0 * static_cast<double>(plan.parameters - kAdapters - kHead));
}

TEST(Plan, TellsWhatAScanKeepsAndWhatThatSpares) {
  const std::string golden = std::string("model.path=") + GAVEL_SOURCE_DIR + "/tests/train/golden";
  auto plan_of = [&](const std::string& recompute) {
    return make_plan(recipe_with({golden, "train.batch_size=2", "data.max_length=16", "train.layers=scan",
                                  "train.recompute=" + recompute, "lora.r=4"}),
                     {.target = "cpu"});
  };
  const Plan all = plan_of("auto"), none = plan_of("none");
  EXPECT_EQ(all.recompute, Recompute::kAll) << "what the CPU did before";
  EXPECT_THAT(format_plan(all), HasSubstr("recompute            all: each layer backward, from what entered it\n"));
  EXPECT_THAT(format_plan(none), HasSubstr("recompute            none: "));
  EXPECT_GT(none.kept_bytes, 0);
  EXPECT_NEAR(none.spared_flops, all.flops_per_step - none.flops_per_step, 1);
  EXPECT_GT(none.spared_flops, 0);
  auto json = nlohmann::json::parse(plan_json(none));
  EXPECT_EQ(json["recompute"]["what"], "none");
  EXPECT_EQ(json["recompute"]["chosen"], false);
  EXPECT_EQ(json["recompute"]["kept_bytes"], none.kept_bytes);
}

TEST(Plan, ARewardsRowIsTwoTexts) {
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "task=reward", "train.batch_size=2",
                                     "data.max_length=16", "train.layers=scan", "lora.r=4"}),
                        {.target = "cpu"});
  EXPECT_EQ(plan.shape.rows, 2);
  EXPECT_EQ(plan.shape.sequences, 4);
  EXPECT_TRUE(plan.fits);
}

TEST(Plan, OnAMeshOfVirtualDevicesCountsWhatIsSent) {
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=6", "data.max_length=64",
                                     "train.layers=scan", "train.kernels=plain", "mesh.fsdp=4", "mesh.mp=2"}),
                        {.target = "cpu"});
  EXPECT_EQ(plan.target.devices, 8);
  EXPECT_EQ(plan.shape.sequences, 8);  // filled up to four parts
  ASSERT_TRUE(plan.collectives.has_value());
  EXPECT_GT(plan.collectives->bytes.at("all-gather"), 0);
  // Each device has a part of what it gathers: a quarter of what fsdp splits, half of what mp does.
  const double gathered = plan.collectives->bytes.at("all-gather");
  EXPECT_GE(plan.collectives->received.at("all-gather"), 0.5 * gathered);
  EXPECT_LE(plan.collectives->received.at("all-gather"), 0.876 * gathered);
  EXPECT_GE(plan.received_bytes, plan.collectives->received.at("all-gather"));
  std::string text = format_plan(plan);
  EXPECT_THAT(text, HasSubstr("9 heads and 3 key-value heads: attention is not split over mp"));
  EXPECT_THAT(text, HasSubstr("filled up to 8"));
}

TEST(Plan, AnUnknownModelIsAnError) {
  EXPECT_THAT(error_of([] { make_plan(recipe_with({"model.path=nowhere/at/all"}), {.target = "cpu"}); }),
              HasSubstr("nowhere/at/all"));
}

TEST(Targets, TheTpuPluginDescribesAsManyDevices) {
  if (!has_compiler("tpu")) GTEST_SKIP() << "libtpu was not fetched (gavel doctor --fetch tpu)";
  prepare_environment(find_target("tpu-v3-8"));
  auto plugin = pjrt::Plugin::load("tpu");
  for (const std::string& name : target_names()) {
    Target target = find_target(name);
    if (target.plugin != "tpu" || target.devices > 64) continue;
    auto topology = pjrt::Topology::create(plugin, target.topology, target.options);
    EXPECT_EQ(static_cast<int64_t>(topology.devices().size()), target.devices) << name;
  }
}

/** One compilation for hardware that is not there, where its compiler was fetched (gavel doctor --fetch tpu).
 */
TEST(Plan, CompilesForAbsentTpu) {
  if (!has_compiler("tpu")) GTEST_SKIP() << "libtpu was not fetched (gavel doctor --fetch tpu)";
  Plan plan =
      make_plan(recipe_with({"model.path=models/SmolLM2-135M-Instruct", "train.batch_size=8", "data.max_length=128"}),
                {.target = "tpu-v3-8"});
  EXPECT_TRUE(plan.fits) << plan.refusal;
  EXPECT_EQ(plan.model, "smollm2-135m");
  EXPECT_EQ(plan.mesh, (Mesh{1, 8, 1}));
  // The weights are split in eight, but for the norms.
  EXPECT_NEAR(plan.per_device.weights / (2.0 * static_cast<double>(plan.parameters - plan.trained) / 8), 1, 0.01);
  EXPECT_GT(plan.bounds.compute, 0);
  EXPECT_GT(plan.bounds.memory, 0);
  EXPECT_NEAR(plan.bounds.links, plan.received_bytes / (4 * 82e9), 1e-9);
  EXPECT_TRUE(plan.prediction.by_cycles);
  EXPECT_GT(plan.prediction.seconds, plan.bounds.compute);
  EXPECT_GT(plan.bounds.links, 0);
}

/** The GPU with the fewest features: what its hardware lacks (bfloat16) the compiler writes in what it has. */
TEST(Plan, CompilesForAbsentGpu) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=1", "data.max_length=16",
                                     "train.layers=scan", "lora.r=4"}),
                        {.target = "t4"});
  EXPECT_TRUE(plan.fits) << plan.refusal;
  EXPECT_NEAR(plan.bounds.compute, plan.flops_per_step / 8.1e12, 1e-9);
  // All products of the text are executed, and each at no more than the peak.
  const ExecutedWork& work = plan.prediction.work;
  EXPECT_GT((work.flops + work.float32_flops) / plan.flops_per_step, 0.9);
  EXPECT_LT((work.flops + work.float32_flops) / plan.flops_per_step, 1.5);
  EXPECT_GT(plan.prediction.seconds, plan.bounds.compute);
  EXPECT_GT(work.bytes, plan.per_device.weights);
  EXPECT_THAT(plan.notes, testing::Contains(HasSubstr("no bfloat16 products")));
}

/** An H100's program of the step, as far as a compiler without the GPU goes: cuDNN's calls are in it, and what is given heads
 * first is read without being moved. */
TEST(Plan, AnH100sProgramCallsCudnnAndMovesNothingForIt) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  const Target target = find_target("h100");
  const auto topology = pjrt::Topology::create(pjrt::Plugin::load("cuda"), "", target.options);
  const DeviceTraits device = device_traits("cuda", false, target.compute_capability);
  for (const auto& [batching, forward] :
       {std::pair("padded", "__cudnn$fmhaSoftmax"), std::pair("packed", "__cudnn$fmhaScaleBiasSoftmax")}) {
    const Recipe recipe =
        recipe_with({"model.path=smollm2-135m", "train.layers=scan", fmt::format("data.batching={}", batching)});
    const StepOptions step = step_options(recipe, decoder_spec(built_in_shape("smollm2-135m")), device);
    const ProgramText text = gradients_program(step, {2, 64, 2});
    const auto program = topology.compile(text.text, {}, text.name).optimized();
    ASSERT_TRUE(program.has_value());
    for (const std::string& call : {std::string(forward), forward + std::string("Backward")}) {
      const auto readers = readers_of_calls(program->code, call);
      std::string all;
      for (const auto& [opcode, count] : readers) all += fmt::format(" {} {}", count, opcode);
      EXPECT_TRUE(readers.contains("bitcast")) << call << ":" << all;
      for (const char* moving : {"transpose", "copy"}) EXPECT_FALSE(readers.contains(moving)) << call << ":" << all;
    }
  }
}

TEST(Targets, TheCudaPluginTakesEachDescription) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  auto plugin = pjrt::Plugin::load("cuda");
  for (const Gpu& gpu : gpus())
    for (int64_t count : {1, 8}) {
      Target target = find_target(fmt::format("{}x{}", gpu.name, count));
      auto topology = pjrt::Topology::create(plugin, "", target.options);
      EXPECT_EQ(static_cast<int64_t>(topology.devices().size()), count) << target.name;
    }
}

}  // namespace
}  // namespace gavel
