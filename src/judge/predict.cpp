#include "judge/predict.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "rows/csv.h"
#include "rows/row_stream.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** Tells a data file from another and from a changed one, without reading it whole. */
std::string file_identity(const fs::path& path) {
  auto file = MappedFile::open(path);
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) fail("{}: {}", path.string(), std::strerror(errno));
  constexpr size_t kEnd = size_t{1} << 20;
  std::string_view text = file->text();
  uint64_t head = hash_text(text.substr(0, kEnd), 1);
  uint64_t tail = hash_text(text.substr(text.size() - std::min(text.size(), kEnd)), 2);
  return fmt::format("{}-{}.{:09}-{:016x}-{:016x}", text.size(), status.st_mtim.tv_sec, status.st_mtim.tv_nsec, head,
                     tail);
}

/** OUT.partial and OUT.partial.json. */
class PartialFile {
 public:
  PartialFile(const fs::path& out, std::string key, bool restart)
      : out_(out), partial_(out.string() + ".partial"), state_(out.string() + ".partial.json"), key_(std::move(key)) {
    descriptor_ = ::open(partial_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("{}: can't be written: {}", partial_.string(), std::strerror(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      fail("{}: another gavel predict writes it; wait for its end or choose another --out", partial_.string());
    }
    try {
      take_up(restart);
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
  }
  ~PartialFile() { ::close(descriptor_); }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const PredictResult& done() const { return done_; }
  size_t bytes() const { return bytes_; }

  /** Appends the text of a window, then notes that it is there. */
  void append(std::string_view text, const PredictResult& done) {
    std::string_view rest = text;
    while (!rest.empty()) {
      ssize_t written =
          ::pwrite(descriptor_, rest.data(), rest.size(), static_cast<off_t>(bytes_ + text.size() - rest.size()));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0)
        fail("{}: writing failed: {}; {} rows are kept, and the same command goes on from there", partial_.string(),
             std::strerror(errno), done_.rows);
      rest.remove_prefix(static_cast<size_t>(written));
    }
    if (::fdatasync(descriptor_) != 0) fail("{}: writing failed: {}", partial_.string(), std::strerror(errno));
    bytes_ += text.size();
    done_ = done;
    nlohmann::ordered_json state = {{"key", key_},
                                    {"rows", done.rows},
                                    {"bytes", bytes_},
                                    {"swapped_rows", done.swapped_rows},
                                    {"flipped_rows", done.flipped_rows}};
    write_file(state_, state.dump() + "\n");
  }

  void finish() {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0 || ::fsync(descriptor_) != 0)
      fail("{}: writing failed: {}", partial_.string(), std::strerror(errno));
    std::error_code error;
    fs::rename(partial_, out_, error);
    if (error) fail("{}: can't be written: {}; all rows are in {}", out_.string(), error.message(), partial_.string());
    fs::remove(state_, error);
  }

 private:
  void take_up(bool restart) {
    std::string text = fs::exists(state_) ? read_text(state_) : "";
    auto state = nlohmann::json::parse(text, nullptr, false);
    auto number = [&](const char* key) {
      return state.is_object() && state.contains(key) && state[key].is_number_integer() ? state[key].get<int64_t>()
                                                                                        : -1;
    };
    int64_t size = static_cast<int64_t>(fs::file_size(partial_));
    bool whole = number("rows") >= 0 && number("bytes") >= 0 && number("swapped_rows") >= 0 &&
                 number("flipped_rows") >= 0 && number("bytes") <= size && state.contains("key") &&
                 state["key"].is_string();
    if (!whole || restart) return;  // nothing to go on from: the file is written over
    if (state["key"] != key_)
      fail(
          "{}: holds {} rows of another judge, data file or setting; finish that first, remove it, or give "
          "--restart",
          partial_.string(), number("rows"));
    done_.rows = done_.resumed_rows = number("rows");
    done_.swapped_rows = number("swapped_rows");
    done_.flipped_rows = number("flipped_rows");
    bytes_ = static_cast<size_t>(number("bytes"));
  }

  fs::path out_, partial_, state_;
  std::string key_;
  int descriptor_ = -1;
  size_t bytes_ = 0;
  PredictResult done_;
};

}  // namespace

PredictResult predict_file(Judge& judge, const PredictOptions& options,
                           const std::function<void(int64_t, int64_t)>& progress) {
  if (options.window < 1) fail("predict: a window of {} rows", options.window);
  ReadOptions read = read_options(judge.recipe(), Purpose::kPredict);
  if (read.format == Format::kRanked)
    fail("{}: a row of data.format: ranked is several answers: gavel rank puts them in order", options.data.string());
  read.find_repeats = false;  // they cost memory with every row, and change nothing here
  read.drop_duplicates = false;
  // The file's structure is known to be whole, and its rows are counted, before the long work begins.
  const int64_t total = count_rows(options.data, read);
  RowStream stream(options.data, read);
  PartialFile partial(options.out,
                      fmt::format("{} {} {} {}", judge.fingerprint(), file_identity(options.data), options.swap_average,
                                  options.window),
                      options.restart);
  PredictResult result = partial.done();
  std::vector<PreferenceRow> block, window;
  int64_t to_skip = result.rows;
  const bool rewards = judge.recipe().task == Recipe::TaskKind::kReward;
  const bool single = read.format == Format::kScored;
  if (partial.bytes() == 0)
    partial.append(
        single ? "id,reward\n"
               : fmt::format("id,winner_model_a,winner_model_b,winner_tie{}\n", rewards ? ",reward_a,reward_b" : ""),
        result);

  auto judge_window = [&] {
    auto verdicts = judge.judge(window, options.swap_average, [&](int64_t done) {
      if (progress) progress(result.rows + done, total);
    });
    std::string text;
    for (size_t i = 0; i < window.size(); ++i) {
      if (single) {
        text += fmt::format("{},{:.9g}\n", csv_cell(window[i].id), (*verdicts[i].rewards)[0]);
        continue;
      }
      const auto& p = verdicts[i].probabilities;
      text += fmt::format("{},{:.10f},{:.10f},{:.10f}", csv_cell(window[i].id), p[0], p[1], p[2]);
      if (verdicts[i].rewards)
        text += fmt::format(",{:.9g},{:.9g}", (*verdicts[i].rewards)[0], (*verdicts[i].rewards)[1]);
      text += '\n';
      if (verdicts[i].swapped_logits) ++result.swapped_rows;
      if (verdicts[i].flipped()) ++result.flipped_rows;
    }
    result.rows += static_cast<int64_t>(window.size());
    partial.append(text, result);
    if (progress) progress(result.rows, total);
    window.clear();
  };
  while (stream.next_block(block)) {
    for (PreferenceRow& row : block) {
      if (to_skip > 0) {
        --to_skip;
        continue;
      }
      window.push_back(std::move(row));
      if (static_cast<int64_t>(window.size()) == options.window) judge_window();
    }
  }
  if (!window.empty()) judge_window();
  partial.finish();
  result.report = stream.report();
  return result;
}

}  // namespace gavel
