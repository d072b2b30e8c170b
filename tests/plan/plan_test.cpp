#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "pjrt/topology.h"

namespace gavel {
namespace {

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

TEST(Plan, OnTheCpuWithoutFilesOrData) {
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=2", "data.max_length=64",
                                     "train.layers=scan", "lora.r=4"}),
                        {"cpu"});
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
                        {"cpu"});
  constexpr int64_t kAdapters = 30 * 4 * ((576 + 576) + (576 + 192)), kHead = 3 * 576;  // o_proj and v_proj; score
  EXPECT_EQ(plan.trained, kAdapters);
  EXPECT_EQ(plan.per_device.trainable, 4.0 * (kAdapters + kHead));
  EXPECT_EQ(plan.per_device.weights, 2.0 * static_cast<double>(plan.parameters - kAdapters - kHead));
}

TEST(Plan, OnAMeshOfVirtualDevicesCountsWhatIsSent) {
  Plan plan = make_plan(recipe_with({"model.path=smollm2-135m", "train.batch_size=6", "data.max_length=64",
                                     "train.layers=scan", "train.kernels=plain", "mesh.fsdp=4", "mesh.mp=2"}),
                        {"cpu"});
  EXPECT_EQ(plan.target.devices, 8);
  EXPECT_EQ(plan.shape.sequences, 8);  // filled up to four parts
  ASSERT_TRUE(plan.collectives.has_value());
  EXPECT_GT(plan.collectives->bytes.at("all-gather"), 0);
  std::string text = format_plan(plan);
  EXPECT_THAT(text, HasSubstr("9 heads and 3 key-value heads: attention is not split over mp"));
  EXPECT_THAT(text, HasSubstr("filled up to 8"));
}

TEST(Plan, AnUnknownModelIsAnError) {
  EXPECT_THAT(error_of([] { make_plan(recipe_with({"model.path=nowhere/at-all"}), {"cpu"}); }),
              HasSubstr("nowhere/at-all"));
}

bool has_tpu_compiler() {
  for (const auto& path : pjrt::plugin_candidates("tpu"))
    if (std::filesystem::exists(path)) return true;
  return false;
}

TEST(Targets, TheTpuPluginDescribesAsManyDevices) {
  if (!has_tpu_compiler()) GTEST_SKIP() << "libtpu was not fetched (gavel doctor --fetch tpu)";
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
  if (!has_tpu_compiler()) GTEST_SKIP() << "libtpu was not fetched (gavel doctor --fetch tpu)";
  Plan plan =
      make_plan(recipe_with({"model.path=models/SmolLM2-135M-Instruct", "train.batch_size=8", "data.max_length=128"}),
                {"tpu-v3-8"});
  EXPECT_TRUE(plan.fits) << plan.refusal;
  EXPECT_EQ(plan.model, "smollm2-135m");
  EXPECT_EQ(plan.mesh, (Mesh{1, 8, 1}));
  // The weights are split in eight, but for the norms.
  EXPECT_NEAR(plan.per_device.weights / (2.0 * static_cast<double>(plan.parameters - plan.trained) / 8), 1, 0.01);
  EXPECT_GT(plan.step_seconds(), 0);
}

}  // namespace
}  // namespace gavel
