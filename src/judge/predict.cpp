#include "judge/predict.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/append.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/json_text.h"
#include "files/csv.h"
#include "rows/row_stream.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The hash of a row after others: of all that judging it depends on, and its id. */
uint64_t hash_after(uint64_t before, const PreferenceRow& row) {
  uint64_t hash = hash_text(row.id, before);
  for (const auto* turns : {&row.prompt, &row.response_a, &row.response_b}) hash = hash_turns(*turns, hash);
  return hash;
}

fs::path state_path(const fs::path& out) {
  return out.string() + ".partial.json";
}

/** What OUT.partial.json holds; null where it is not there. */
nlohmann::json read_state(const fs::path& path) {
  return fs::exists(path) ? nlohmann::json::parse(read_json_text(path), nullptr, false) : nlohmann::json();
}

/** OUT.partial and OUT.partial.json. */
class PartialFile {
 public:
  PartialFile(const fs::path& out, std::string key, bool restart)
      : out_(out), partial_(out.string() + ".partial"), state_(state_path(out)), key_(std::move(key)) {
    open();
    try {
      take_up(restart);
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
  }
  ~PartialFile() {
    // What holds no row is of no use to anybody.
    if (done_.rows == 0 && is_at(descriptor_, partial_)) {
      ::unlink(partial_.c_str());
      ::unlink(state_.c_str());
    }
    ::close(descriptor_);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const PredictResult& done() const { return done_; }
  size_t bytes() const { return bytes_; }
  /** The hash of the rows that are done. */
  const std::string& content() const { return content_; }

  [[noreturn]] void refuse(std::string_view why) const {
    fail("{}: holds {} rows {}; finish that first, remove it, or give --restart", partial_.string(), done_.rows, why);
  }

  /** Appends the text of a window, then notes that it is there. `content`: the hash of all rows up to its end. */
  void append(std::string_view text, const PredictResult& done, uint64_t content) {
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
    nlohmann::ordered_json state = {
        {"key", key_},     {"content", to_hex(content)},        {"rows", done.rows},
        {"bytes", bytes_}, {"swapped_rows", done.swapped_rows}, {"flipped_rows", done.flipped_rows}};
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
  void open() {
    for (;;) {
      descriptor_ = open_to_write(partial_, O_RDWR);
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        ::close(descriptor_);
        fail("{}: another gavel predict writes it; wait for its end or choose another --out", partial_.string());
      }
      // A call that ended between our opening and our locking has removed or renamed the file that we hold.
      if (is_at(descriptor_, partial_)) return;
      ::close(descriptor_);
    }
  }

  void take_up(bool restart) {
    const auto state = read_state(state_);
    auto number = [&](const char* key) {
      return state.is_object() && state.contains(key) && state[key].is_number_integer() ? state[key].get<int64_t>()
                                                                                        : -1;
    };
    int64_t size = static_cast<int64_t>(fs::file_size(partial_));
    bool whole = number("rows") >= 0 && number("bytes") >= 0 && number("swapped_rows") >= 0 &&
                 number("flipped_rows") >= 0 && number("bytes") <= size && state.contains("key") &&
                 state["key"].is_string();
    whole = whole && state.contains("content") && state["content"].is_string();
    if (!whole || restart || number("rows") == 0) return;  // nothing to go on from: the file is written over
    done_.rows = done_.resumed_rows = number("rows");
    if (state["key"] != key_) refuse("of another judge or other settings");
    content_ = state["content"];
    done_.swapped_rows = number("swapped_rows");
    done_.flipped_rows = number("flipped_rows");
    bytes_ = static_cast<size_t>(number("bytes"));
  }

  fs::path out_, partial_, state_;
  std::string key_, content_;
  int descriptor_ = -1;
  size_t bytes_ = 0;
  PredictResult done_;
};

}  // namespace

int64_t rows_in_partial_file(const fs::path& out) {
  const auto state = read_state(state_path(out));
  return state.is_object() && state.contains("rows") && state["rows"].is_number_integer() ? state["rows"].get<int64_t>()
                                                                                          : 0;
}

ReadOptions predict_options(const Recipe& recipe, const fs::path& data) {
  ReadOptions read = read_options(recipe, Purpose::kPredict);
  if (read.format == Format::kRanked)
    fail("{}: a row of data.format: ranked is several answers: gavel rank puts them in order", data.string());
  read.find_repeats = false;  // they cost memory with every row, and change nothing here
  read.drop_duplicates = false;
  return read;
}

PredictResult predict_file(Judge& judge, const PredictOptions& options,
                           const std::function<void(int64_t, int64_t)>& progress) {
  if (options.window < 1) fail("predict: a window of {} rows", options.window);
  const ReadOptions read = predict_options(judge.recipe(), options.data);
  // Every row is known to be readable before the long work begins.
  const int64_t total = count_rows(options.data, read);
  RowStream stream(options.data, read);
  PartialFile partial(options.out, fmt::format("{} {} {}", judge.fingerprint(), options.swap_average, options.window),
                      options.restart);
  PredictResult result = partial.done();
  std::vector<PreferenceRow> block, window;
  int64_t to_skip = result.rows;
  uint64_t content = 0;
  const std::string other_rows = fmt::format("that are not the first ones of {}", options.data.string());
  // Only whole windows, or all rows, are judged as an uninterrupted call would.
  if (result.rows > total || (result.rows < total && result.rows % options.window != 0)) partial.refuse(other_rows);
  const bool rewards = judge.recipe().task == Recipe::TaskKind::kReward;
  const bool single = read.format == Format::kScored;
  if (partial.bytes() == 0)
    partial.append(
        single ? "id,reward\n"
               : fmt::format("id,winner_model_a,winner_model_b,winner_tie{}\n", rewards ? ",reward_a,reward_b" : ""),
        result, content);

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
    partial.append(text, result, content);
    if (progress) progress(result.rows, total);
    window.clear();
  };
  while (stream.next_block(block)) {
    for (PreferenceRow& row : block) {
      content = hash_after(content, row);
      if (to_skip > 0) {
        if (--to_skip == 0 && to_hex(content) != partial.content()) partial.refuse(other_rows);
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
