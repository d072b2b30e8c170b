#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pjrt/client.h"
#include "pjrt/profiler.h"
#include "trace/spans.h"

namespace gavel {

/** Records some steps of a run for TensorBoard's profile plugin: what this program does on its threads, on the CPU each call
 * of a kernel among it, and what the devices do where the plugin has a profiler. It can't end a run: what goes wrong with it
 * is a warning. */
class RunTrace {
 public:
  struct Options {
    std::filesystem::path folder;  // of the run: the file is FOLDER/plugins/profile/TIME/HOST.xplane.pb
    int64_t first = 1;             // step, from 1
    int64_t steps = 0;             // 0: nothing is recorded
    /** Said once: where the file is, or what is wrong. */
    std::function<void(const std::string&)> info, warn;
    size_t most_spans = Spans::kMost;
  };
  RunTrace(Options options, std::shared_ptr<pjrt::Client> client);
  /** As finish(). */
  ~RunTrace();
  RunTrace(const RunTrace&) = delete;
  RunTrace& operator=(const RunTrace&) = delete;

  /** Where spans are noted; lives as long as this object. */
  Spans* spans() const { return spans_.get(); }
  /** To be called before a step is sent; `step` counts from 1. The recording begins with the first of its steps that comes:
   * a run that was resumed among them has the later ones. */
  void before(int64_t step);
  /** To be called when all steps up to this one are done. After the recording's last it is written. */
  void after(int64_t step);
  /** Writes what is recorded, if anything is. */
  void finish();

 private:
  int64_t last() const { return options_.first + options_.steps - 1; }
  void write(const SpanRecording& recording, const std::string& device_space);

  Options options_;
  std::shared_ptr<pjrt::Client> client_;
  std::shared_ptr<Spans> spans_;
  std::unique_ptr<pjrt::Profiler> profiler_;
  bool over_ = false;
};

}  // namespace gavel
