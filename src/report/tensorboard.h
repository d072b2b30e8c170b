#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** Writes scalars for TensorBoard to a new file events.out.tfevents.TIME.HOST.PID in `folder`: TFRecords of Event
 * messages (TensorFlow's event.proto), encoded by hand. The file says at which step it begins, so that TensorBoard
 * drops what earlier files have from there on. */
class EventWriter {
 public:
  /** `first_step`: that of the first scalars to come; 0 for a new run. Throws Error naming the file. */
  EventWriter(const std::filesystem::path& folder, int64_t first_step);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /** Whether the file is still there under its name. */
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
  std::string file_version;     // of the first event, else ""
  bool starts_session = false;  // it holds SessionLog.START: what earlier files have from `step` on is dropped
  std::vector<std::pair<std::string, float>> scalars;
};

/** All whole events; a torn end is left out. Throws Error naming the file and the place of an event whose
 * checksum is wrong. */
std::vector<TensorboardEvent> read_events(const std::filesystem::path& path);

/** For a run that goes on from `step` and was last evaluated at `evaluated_step`: removes the scalars of later steps,
 * and those of later evaluations (valid/…), from all event files of the folder. A torn end goes too. */
void cut_events(const std::filesystem::path& folder, int64_t step, int64_t evaluated_step);

}  // namespace gavel
