#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** Scalars for TensorBoard: a new file events.out.tfevents.TIME.HOST.PID in `folder` (TFRecord framing, with
 * Event messages of TensorFlow's event.proto written by hand: three messages do not need a protobuf library).
 * A writer that goes on at `first_step` says so in its file, so that TensorBoard drops what an earlier one
 * wrote from there on. */
class EventWriter {
 public:
  /** Throws Error naming the file. `first_step`: of the first scalars to come; 0 for a new run. */
  EventWriter(const std::filesystem::path& folder, int64_t first_step);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /** Whether the file still has its name. */
  bool is_there() const;
  /** Appends one event. Throws when it can't; the file then ends with the last whole event. */
  void write(int64_t step, double wall_time, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  void append(std::string_view event);

  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

/** One event of a file. */
struct TensorboardEvent {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version;  // of the first event, else ""
  bool starts_session = false;
  std::vector<std::pair<std::string, float>> scalars;
};

/** All whole events; a torn end is left out. Throws Error naming the file and the place of an event whose
 * checksum is wrong. */
std::vector<TensorboardEvent> read_events(const std::filesystem::path& path);

/** Cuts all event files of the folder back to where a run of `step` steps, last evaluated at `evaluated_step`
 * (scalars valid/…), stood; a torn end goes too. */
void cut_events(const std::filesystem::path& folder, int64_t step, int64_t evaluated_step);

}  // namespace gavel
