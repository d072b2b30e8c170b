#include "hub/fetch.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "hub/blob_file.h"
#include "hub/listing.h"
#include "hub/transfer.h"
#include "report/progress.h"
#include "report/table.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr size_t kLongestListing = size_t{64} << 20;
constexpr int kMostFailures = 5;        // in a row, with nothing new between them
constexpr int kMostUnreachable = 2;     // of the first question: there may be no network at all
constexpr int kMostFailuresInAll = 50;  // of one file
constexpr int64_t kLongestWait = 300;   // seconds that a server may ask for
constexpr double kLongestPause = 30;
constexpr int64_t kMegabyte = 1000000;

/** One model on its way into the cache. */
class HubFetch {
 public:
  HubFetch(const HubName& name, const HubSettings& settings)
      : name_(name), settings_(settings), repository_(repository_folder(settings, name)), transfer_(settings) {}

  fs::path run(const HubNeed& need) {
    const HubListing listing = list();
    const auto read_index = [&](const HubFile& index) {
      fetch(index, listing.commit);
      return read_text(blob(index));
    };
    const std::vector<HubFile> files = wanted_files(listing, name_, need, read_index);
    std::vector<HubFile> absent;
    std::set<std::string> counted;
    int64_t total = 0, begun = 0;
    for (const HubFile& file : files) {
      std::error_code ignored;
      if (fs::exists(blob(file), ignored) || !counted.insert(file.hash).second) continue;
      absent.push_back(file);
      total += file.size;
      begun += BlobFile::begun(blob(file));
    }
    if (!absent.empty()) {
      require_room(total - begun);
      spdlog::info("fetching {} (commit {}): {} of {} files, {:.1f} MB, to {}", name_.text(),
                   listing.commit.substr(0, 7), absent.size(), files.size(), static_cast<double>(total) / kMegabyte,
                   repository_.string());
      done_ = 0;
      progress_.emplace(std::max<int64_t>(1, total / kMegabyte),
                        Progress::Options{.label = "fetch",
                                          .unit = "megabyte",
                                          .start = begun / kMegabyte,
                                          .silent = !spdlog::should_log(spdlog::level::info)});
    }
    for (const HubFile& file : files) fetch(file, listing.commit);
    if (progress_) progress_->finish();
    progress_.reset();
    // Last, so that what a branch was before stays in use until all of the new is there.
    if (!is_commit(name_.revision)) {
      const fs::path ref = repository_ / "refs" / name_.revision;
      make_folder(ref.parent_path());
      write_file(ref, listing.commit);
    }
    const fs::path snapshot = repository_ / "snapshots" / listing.commit;
    return name_.file.empty() ? snapshot : snapshot / name_.file;
  }

 private:
  fs::path blob(const HubFile& file) const { return repository_ / "blobs" / file.hash; }

  /** Waits after a failure that may pass; throws what it was after too many of them. */
  void pause(const HubResponse& response, int failures, int in_all, const std::string& what) {
    if (failures >= kMostFailures || in_all >= kMostFailuresInAll || response.retry_after > kLongestWait)
      refuse_answer(response, settings_, name_, what);
    double seconds = std::min(kLongestPause, settings_.retry_seconds * std::pow(2.0, failures - 1));
    if (response.retry_after > 0) seconds = static_cast<double>(response.retry_after);
    const std::string why = !response.broken.empty() ? response.broken : fmt::format("status {}", response.status);
    say(fmt::format("{}: {}; again in {}", what, why, format_duration(seconds)));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }

  void say(const std::string& line) {
    if (progress_)
      progress_->line(line);
    else
      spdlog::info("{}", line);
  }

  HubListing list() {
    const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings_.endpoint,
                                        name_.repository(), HubTransfer::escape(name_.revision));
    for (int failures = 1;; ++failures) {
      const HubResponse response = transfer_.get(url, kLongestListing);
      if (response.status == 200 && response.broken.empty()) return parse_listing(response.body, url);
      if (!response.may_be_tried_again() || (response.unreachable && failures >= kMostUnreachable))
        refuse_answer(response, settings_, name_, "the repository");
      pause(response, failures, failures, "the repository");
    }
  }

  void require_room(int64_t bytes) const {
    make_folder(repository_ / "blobs");
    std::error_code error;
    const fs::space_info space = fs::space(repository_ / "blobs", error);
    if (!error && space.available < static_cast<uint64_t>(std::max<int64_t>(0, bytes)))
      fail("{}: {} are to be fetched, and {} has {} left: make room, or say with HF_HUB_CACHE where else", name_.text(),
           format_bytes(static_cast<uint64_t>(bytes)), settings_.cache.string(), format_bytes(space.available));
  }

  void fetch(const HubFile& file, const std::string& commit) {
    std::error_code ignored;
    if (!fs::exists(blob(file), ignored)) {
      make_folder(repository_ / "blobs");
      const fs::path locks = settings_.cache / ".locks" / repository_.filename();
      make_folder(locks);
      const BlobLock lock(locks / (file.hash + ".lock"),
                          [&] { say(fmt::format("{}: another process fetches it; waiting", file.name)); });
      if (!fs::exists(blob(file), ignored)) receive(file, commit);
      done_ += file.size;
      if (progress_) progress_->update(done_ / kMegabyte);
    }
    link_blob(repository_, commit, file.name, file.hash);
  }

  void receive(const HubFile& file, const std::string& commit) {
    const std::string url = fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, name_.repository(), commit,
                                        HubTransfer::escape(file.name, true));
    BlobFile incomplete(blob(file), file.size);
    // What an earlier try left may be wrong; what was fetched from its first byte on is the hub's own word.
    bool whole = incomplete.size() == 0;
    for (int failures = 0, in_all = 0;;) {
      const int64_t before = incomplete.size();
      HubResponse response;
      if (before < file.size) {
        bool begun = false;
        response = transfer_.download(url, before, [&](const HubResponse& head, std::string_view part) {
          if (!begun) begin(head, file, incomplete, whole);
          begun = true;
          incomplete.append(part, name_.text() + "/" + file.name);
          if (progress_) progress_->update((done_ + incomplete.size()) / kMegabyte);
        });
      }
      if (incomplete.size() == file.size) {
        if (incomplete.finish(file.hash, file.lfs)) return;
        if (whole) {
          incomplete.discard();
          fail("{}: {} is not what the hub says that it is: expected the hash {}, found another; nothing was kept",
               name_.text(), file.name, file.hash);
        }
        incomplete.empty();
        say(fmt::format("{}: what an earlier try left is damaged; fetched anew", file.name));
        whole = true;
        continue;
      }
      const bool short_answer = response.broken.empty() && (response.status == 200 || response.status == 206);
      if (short_answer) response.broken = fmt::format("it ended after {} of {} bytes", incomplete.size(), file.size);
      if (response.status == 416) {
        incomplete.empty();
        whole = true;
      } else if (!response.may_be_tried_again()) {
        refuse_answer(response, settings_, name_, file.name);
      }
      failures = incomplete.size() > before ? 1 : failures + 1;
      pause(response, failures, ++in_all, file.name);
    }
  }

  /** An answer's beginning: whether it goes on where the file ends. */
  void begin(const HubResponse& head, const HubFile& file, BlobFile& incomplete, bool& whole) const {
    if (incomplete.size() == 0) return;
    if (head.status == 206 && head.header("content-range").starts_with(fmt::format("bytes {}-", incomplete.size())))
      return;
    if (head.status == 206)
      fail("{}: {} was asked for {} from byte {} on and gave {}", name_.text(), settings_.endpoint, file.name,
           incomplete.size(), head.header("content-range"));
    incomplete.empty();
    whole = true;
  }

  const HubName& name_;
  const HubSettings& settings_;
  fs::path repository_;
  HubTransfer transfer_;
  std::optional<Progress> progress_;
  int64_t done_ = 0;  // bytes of files that progress_ counts and that are there
};

}  // namespace

fs::path fetch_from_hub(const HubName& name, const HubNeed& need, const HubSettings& settings, bool refresh) {
  const auto cached = find_snapshot(settings, name, need);
  if (cached && cached->missing.empty() && (!refresh || settings.offline)) return cached->path;
  if (settings.offline)
    fail("{}: it is no file or folder here, and HF_HUB_OFFLINE is set: {} has {}", name.text(), settings.cache.string(),
         cached ? fmt::format("the revision {} without {}", name.revision, fmt::join(cached->missing, ", "))
                : fmt::format("no revision {} of it", name.revision));
  return HubFetch(name, settings).run(need);
}

}  // namespace gavel
