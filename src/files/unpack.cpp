#include "files/unpack.h"

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"

namespace gavel::detail {

namespace fs = std::filesystem;

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kGzip = "\x1F\x8B"sv;

/** A temporary file that is gone when it is closed. */
class NamelessFile {
 public:
  explicit NamelessFile(const fs::path& of) : of_(of) {
    std::string name = (fs::temp_directory_path() / "gavel_rows.XXXXXX").string();
    descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor_ < 0)
      fail("{}: can't be unpacked: {}: {}: set TMPDIR to a folder with room", of_.string(), name, std::strerror(errno));
    ::unlink(name.c_str());
  }
  ~NamelessFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  void write(const uint8_t* data, size_t size) const {
    while (size > 0) {
      const ssize_t written = ::write(descriptor_, data, size);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0)
        fail("{}: can't be unpacked into {}: {}: set TMPDIR to a folder with room", of_.string(),
             fs::temp_directory_path().string(), std::strerror(errno));
      data += written;
      size -= static_cast<size_t>(written);
    }
  }
  /** Gives the descriptor away. */
  int release() { return std::exchange(descriptor_, -1); }

 private:
  fs::path of_;
  int descriptor_ = -1;
};

/** Text of people becomes three to ten times as long. What becomes so much longer was made to fill a disk. */
constexpr size_t kMostTimesLonger = 200, kUnpackedInAnyCase = size_t{64} << 20;

/** The content of a gzip file, which may have several members, one after the other. */
std::shared_ptr<const MappedFile> unpack_gzip(const MappedFile& packed) {
  constexpr size_t kPiece = size_t{16} << 20;
  const std::string_view text = packed.text();
  NamelessFile file(packed.path());
  std::vector<uint8_t> buffer(size_t{1} << 20);
  auto state = std::make_unique<inflate_state>();
  size_t at = 0, unpacked = 0;
  // What follows the last member (zeros that a tape left, say) is passed by, as gzip does it.
  while (text.substr(at).starts_with(kGzip)) {
    isal_inflate_init(state.get());
    state->crc_flag = ISAL_GZIP;
    while (state->block_state != ISAL_BLOCK_FINISH) {
      const size_t piece = std::min(kPiece, text.size() - at);
      state->next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(text.data() + at));
      state->avail_in = static_cast<uint32_t>(piece);
      state->next_out = buffer.data();
      state->avail_out = static_cast<uint32_t>(buffer.size());
      const int status = isal_inflate(state.get());
      const size_t read = piece - state->avail_in, written = buffer.size() - state->avail_out;
      if (status < 0) fail("{}: a damaged gzip file, near byte {}: fetch or pack it again", packed.path().string(), at);
      if (read == 0 && written == 0 && state->block_state != ISAL_BLOCK_FINISH)
        fail("{}: the gzip file ends early, after {} bytes: fetch or pack it again", packed.path().string(), at);
      file.write(buffer.data(), written);
      at += read;
      unpacked += written;
      if (unpacked > kUnpackedInAnyCase && unpacked / kMostTimesLonger > at)
        fail(
            "{}: becomes more than {} times as long, which text does not: if it is meant so, unpack it first (gunzip "
            "-k {})",
            packed.path().string(), kMostTimesLonger, packed.path().string());
    }
  }
  return MappedFile::adopt(file.release(), packed.path());
}

}  // namespace

std::shared_ptr<const MappedFile> unpack(const MappedFile& file) {
  return file.text().starts_with(kGzip) ? unpack_gzip(file) : nullptr;
}

}  // namespace gavel::detail
