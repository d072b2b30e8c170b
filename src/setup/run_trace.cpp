#include "setup/run_trace.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "kernels/kernel_profile.h"
#include "report/table.h"
#include "trace/xplane.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** A file that is not there yet, under the names that TensorBoard looks for. */
fs::path trace_file(const fs::path& run) {
  char host[HOST_NAME_MAX + 1] = "localhost";
  ::gethostname(host, sizeof host);
  const std::string file = fmt::format("{}.xplane.pb", host);
  const fs::path traces = run / "plugins" / "profile";
  const std::string time = fmt::format("{:%Y_%m_%d_%H_%M_%S}", fmt::gmtime(std::time(nullptr)));
  for (int again = 1;; ++again) {
    const fs::path folder = traces / (again == 1 ? time : fmt::format("{}_{}", time, again));
    std::error_code unknown;
    if (fs::exists(folder / file, unknown)) continue;
    make_folder(folder);
    return folder / file;
  }
}

}  // namespace

RunTrace::RunTrace(Options options, std::shared_ptr<pjrt::Client> client)
    : options_(std::move(options)),
      client_(std::move(client)),
      spans_(std::make_shared<Spans>(options_.most_spans)),
      over_(options_.steps <= 0) {}

RunTrace::~RunTrace() {
  finish();
}

void RunTrace::before(int64_t step) {
  if (over_ || spans_->on() || step < options_.first || step > last()) return;
  try {
    profiler_ = pjrt::Profiler::start(client_->plugin());
  } catch (const Error& error) {
    options_.warn(fmt::format("{}; the trace will hold what the host does alone", error.what()));
  }
  set_kernel_spans(spans_);
  spans_->begin();
}

void RunTrace::after(int64_t step) {
  if (step >= last()) finish();
}

void RunTrace::finish() {
  if (over_ || !spans_->on()) return;
  over_ = true;
  set_kernel_spans(nullptr);
  const SpanRecording recording = spans_->end();
  std::string device_space;
  try {
    if (profiler_) device_space = profiler_->stop();
  } catch (const Error& error) {
    options_.warn(fmt::format("{}; the trace holds what the host did alone", error.what()));
  }
  profiler_.reset();
  try {
    write(recording, device_space);
  } catch (const Error& error) {
    options_.warn(fmt::format("the trace can't be written: {}", error.what()));
  }
}

void RunTrace::write(const SpanRecording& recording, const std::string& device_space) {
  int64_t first = -1, last = -1;
  for (const Span& span : recording.spans) {
    if (span.step < 0) continue;
    first = first < 0 ? span.step : std::min(first, span.step);
    last = std::max(last, span.step);
  }
  if (first < 0) return;  // stopped before a step was done
  const std::string space = to_xspace(recording, device_space);
  const fs::path path = trace_file(options_.folder);
  write_file(path, space);
  options_.info(fmt::format("trace of steps {} to {} in {} ({}); open it with TensorBoard's profile plugin", first,
                            last, path.string(), format_bytes(space.size())));
  if (recording.left_out > 0)
    options_.warn(fmt::format(
        "the trace holds the first {} spans; {} more were left out: record fewer steps (train.profile.steps)",
        format_count(static_cast<int64_t>(recording.spans.size())), format_count(recording.left_out)));
}

}  // namespace gavel
