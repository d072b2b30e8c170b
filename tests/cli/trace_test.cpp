// Traces of runs (train.profile) and of measurements (gavel bench --trace).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "cli/cli_fixture.h"
#include "trace/xplane_reader.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Trace : public Cli {
 protected:
  int train(std::vector<std::string> more) const {
    more.insert(more.begin(), {"train", file("recipe.yaml").string(), "train.max_steps=6", "train.save_every=4",
                               "train.eval_every=3", "output=" + file("run").string()});
    return run(more);
  }
  /** Sorted by the names of their folders, which are times. */
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    if (!fs::exists(file("run") / "plugins")) return found;
    for (const auto& entry : fs::recursive_directory_iterator(file("run") / "plugins"))
      if (entry.is_regular_file()) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
  static XPlane host_plane(const fs::path& path) {
    EXPECT_TRUE(path.filename().string().ends_with(".xplane.pb")) << path;
    const XSpace space = read_xspace(read_text(path));
    for (const XPlane& plane : space.planes)
      if (plane.name == "/host:CPU") return plane;
    ADD_FAILURE() << "no plane of the host";
    return {};
  }
  static const XLine& line_with(const XPlane& plane, const std::string& name) {
    for (const XLine& line : plane.lines)
      for (const XEvent& event : line.events)
        if (event.name == name) return line;
    ADD_FAILURE() << "nothing is called " << name;
    return plane.lines.at(0);
  }
  static std::vector<int64_t> steps_of(const XPlane& plane) {
    std::vector<int64_t> steps;
    for (const XEvent& event : line_with(plane, "step").events)
      if (event.name == "step") steps.push_back(event.stats.at("step_num"));
    return steps;
  }
};

TEST_F(Trace, HoldsTheStepsAskedForAndTheKernelsInThem) {
  ASSERT_EQ(train({"train.profile.start=2", "train.profile.steps=3"}), 0);
  ASSERT_THAT(files(), SizeIs(1));
  const fs::path file = files()[0];
  EXPECT_EQ(file.parent_path().parent_path(), this->file("run") / "plugins/profile");
  const XPlane plane = host_plane(file);
  EXPECT_THAT(steps_of(plane), ElementsAre(2, 3, 4));

  // What is on a thread either is within another or does not touch it.
  int64_t kernels = 0;
  for (const XLine& line : plane.lines) {
    std::vector<int64_t> open;  // where the spans end that hold the next
    int64_t before = 0;
    for (const XEvent& event : line.events) {
      EXPECT_GE(event.offset_ps, before);
      before = event.offset_ps;
      while (!open.empty() && open.back() <= event.offset_ps) open.pop_back();
      if (!open.empty()) {
        EXPECT_LE(event.end_ps(), open.back()) << event.name;
      }
      open.push_back(event.end_ps());
      kernels += event.name.starts_with("gavel.") || event.name.starts_with("gavel_");
    }
  }
  const XLine& loop = line_with(plane, "step");
  for (const char* name : {"send", "wait for the device", "wait for batches"})
    EXPECT_EQ(std::ranges::count(loop.names(), name), 3) << name;
  EXPECT_EQ(std::ranges::count(loop.names(), "evaluate"), 1);           // behind step 3
  EXPECT_EQ(std::ranges::count(loop.names(), "save a checkpoint"), 2);  // of the better evaluation, and behind step 4

  // Two layers have at least a dozen calls forward and back; all of them are while a step or the evaluation runs.
  EXPECT_GE(kernels, 3 * 12);
  for (const XLine& line : plane.lines)
    for (const XEvent& event : line.events) {
      if (!event.name.starts_with("gavel")) continue;
      EXPECT_TRUE(std::ranges::any_of(loop.events, [&](const XEvent& outer) {
        return (outer.name == "step" || outer.name == "evaluate") && outer.offset_ps <= event.offset_ps &&
               event.end_ps() <= outer.end_ps();
      })) << event.name;
    }
}

TEST_F(Trace, IsNotThereUnlessAskedFor) {
  ASSERT_EQ(train({}), 0);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(Trace, OfAResumedRunHasTheStepsThatAreLeft) {
  ASSERT_EQ(train({"train.profile.start=3", "train.profile.steps=3", "--until", "3"}), 0);
  ASSERT_EQ(train({"train.profile.start=3", "train.profile.steps=3", "--resume"}), 0);
  ASSERT_THAT(files(), SizeIs(2));
  EXPECT_THAT(steps_of(host_plane(files()[0])), ElementsAre(3));
  EXPECT_THAT(steps_of(host_plane(files()[1])), ElementsAre(4, 5));
}

TEST_F(Trace, OfAMeasurementHasTimedStepsOfEitherKind) {
  const std::string folder = file("run").string();
  ASSERT_EQ(run({"bench", file("recipe.yaml").string(), "--steps", "5", "--trace", folder}), 0);
  ASSERT_THAT(files(), SizeIs(1));
  EXPECT_THAT(steps_of(host_plane(files()[0])), ElementsAre(2, 3, 4));
  ASSERT_EQ(run({"bench", file("recipe.yaml").string(), "--steps", "5", "--predict", "--trace", folder,
                 "train.profile.start=3", "train.profile.steps=1"}),
            0);
  ASSERT_THAT(files(), SizeIs(2));
  const XPlane plane = host_plane(files()[1]);
  EXPECT_THAT(steps_of(plane), ElementsAre(3));
  EXPECT_THAT(line_with(plane, "step").names(), testing::Contains("wait for the device"));
}

TEST_F(Trace, ThatCantBeWrittenDoesNotEndTheRun) {
  fs::create_directories(file("run"));
  write_file(file("run") / "plugins", "in the way");
  testing::internal::CaptureStderr();
  const int status = train({"train.profile.start=1", "train.profile.steps=1"});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("the trace can't be written"));
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(file("run") / "adapter_model.safetensors"));
}

}  // namespace
}  // namespace gavel
