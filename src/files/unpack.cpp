#include "files/unpack.h"

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"

namespace gavel::detail {

namespace fs = std::filesystem;

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kGzip = "\x1F\x8B"sv, kXz = "\xFD\x37\x7A\x58\x5A\0"sv, kZstd = "\x28\xB5\x2F\xFD"sv,
                           kSkippedFrame = "\x2A\x4D\x18"sv;  // behind a byte from 0x50 to 0x5F

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

/** What a decoder may take for the text that it looks back on; the strongest settings but `zstd --long` need less. */
constexpr int kMostWindowLog = 27;  // 128 MiB
constexpr uint64_t kMostXzBytes = uint64_t{256} << 20;

/** Where unpacked pieces go; watches how much longer the text becomes. */
class Unpacked {
 public:
  Unpacked(const MappedFile& packed, std::string_view kind, std::string_view command)
      : path_(packed.path()), kind_(kind), command_(command), file_(packed.path()), buffer_(size_t{1} << 20) {}

  std::vector<uint8_t>& buffer() { return buffer_; }
  /** The first `size` bytes of the buffer were unpacked; so far `read` bytes of the packed file have been. */
  void take(size_t size, size_t read) {
    file_.write(buffer_.data(), size);
    unpacked_ += size;
    if (unpacked_ > kUnpackedInAnyCase && unpacked_ / kMostTimesLonger > read)
      fail("{}: becomes more than {} times as long, which text does not: if it is meant so, unpack it first ({} {})",
           path_.string(), kMostTimesLonger, command_, path_.string());
  }
  [[noreturn]] void refuse_damage(size_t at) const {
    fail("{}: a damaged {} file, near byte {}: fetch or pack it again", path_.string(), kind_, at);
  }
  [[noreturn]] void refuse_early_end(size_t at) const {
    fail("{}: the {} file ends early, after {} bytes: fetch or pack it again", path_.string(), kind_, at);
  }
  [[noreturn]] void refuse_window() const {
    fail("{}: unpacking this {} file takes more memory than is given to it: unpack it first ({} {})", path_.string(),
         kind_, command_, path_.string());
  }
  std::shared_ptr<const MappedFile> finish() { return MappedFile::adopt(file_.release(), path_); }

 private:
  fs::path path_;
  std::string_view kind_, command_;
  NamelessFile file_;
  std::vector<uint8_t> buffer_;
  size_t unpacked_ = 0;
};

/** All members of a gzip file, one after the other. */
std::shared_ptr<const MappedFile> unpack_gzip(const MappedFile& packed) {
  constexpr size_t kPiece = size_t{16} << 20;
  const std::string_view text = packed.text();
  Unpacked out(packed, "gzip", "gunzip -k");
  std::vector<uint8_t>& buffer = out.buffer();
  auto state = std::make_unique<inflate_state>();
  size_t at = 0;
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
      if (status < 0) out.refuse_damage(at);
      if (read == 0 && written == 0 && state->block_state != ISAL_BLOCK_FINISH) out.refuse_early_end(at);
      at += read;
      out.take(written, at);
    }
  }
  return out.finish();
}

/** All frames of a Zstandard file, those that are to be skipped among them. */
std::shared_ptr<const MappedFile> unpack_zstd(const MappedFile& packed) {
  const std::string_view text = packed.text();
  Unpacked out(packed, "Zstandard", "zstd -d --long=31");
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  if (context == nullptr) throw std::bad_alloc();
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMostWindowLog);
  ZSTD_inBuffer in{text.data(), text.size(), 0};
  size_t expected = 1;  // bytes that a frame still needs; 0 at its end
  while (in.pos < in.size || expected != 0) {
    const size_t before = in.pos;
    ZSTD_outBuffer piece{out.buffer().data(), out.buffer().size(), 0};
    expected = ZSTD_decompressStream(context.get(), &piece, &in);
    if (ZSTD_isError(expected) != 0) {
      const ZSTD_ErrorCode why = ZSTD_getErrorCode(expected);
      if (why == ZSTD_error_frameParameter_windowTooLarge) out.refuse_window();
      if (why == ZSTD_error_dictionary_wrong)
        fail("{}: was packed with a dictionary of its own: unpack it first (zstd -d -D DICTIONARY {})",
             packed.path().string(), packed.path().string());
      out.refuse_damage(in.pos);
    }
    out.take(piece.pos, in.pos);
    if (expected != 0 && in.pos == before && piece.pos == 0) out.refuse_early_end(in.pos);
  }
  return out.finish();
}

/** All streams of an xz file. */
std::shared_ptr<const MappedFile> unpack_xz(const MappedFile& packed) {
  const std::string_view text = packed.text();
  Unpacked out(packed, "xz", "xz -dk");
  lzma_stream stream = LZMA_STREAM_INIT;
  const std::unique_ptr<lzma_stream, decltype(&lzma_end)> ends(&stream, &lzma_end);
  if (lzma_stream_decoder(&stream, kMostXzBytes, LZMA_CONCATENATED) != LZMA_OK) throw std::bad_alloc();
  stream.next_in = reinterpret_cast<const uint8_t*>(text.data());
  stream.avail_in = text.size();
  for (;;) {
    stream.next_out = out.buffer().data();
    stream.avail_out = out.buffer().size();
    const lzma_ret status = lzma_code(&stream, LZMA_FINISH);
    const size_t at = text.size() - stream.avail_in;
    out.take(out.buffer().size() - stream.avail_out, at);
    if (status == LZMA_STREAM_END) return out.finish();
    if (status == LZMA_OK) continue;
    if (status == LZMA_MEM_ERROR) throw std::bad_alloc();
    if (status == LZMA_MEMLIMIT_ERROR) out.refuse_window();
    if (status == LZMA_BUF_ERROR) out.refuse_early_end(at);
    out.refuse_damage(at);
  }
}

}  // namespace

Packing packing_of(std::string_view text) {
  if (text.starts_with(kGzip)) return Packing::kGzip;
  if (text.starts_with(kXz)) return Packing::kXz;
  const bool skipped =
      text.size() >= 4 && (static_cast<uint8_t>(text[0]) & 0xF0) == 0x50 && text.substr(1).starts_with(kSkippedFrame);
  return skipped || text.starts_with(kZstd) ? Packing::kZstd : Packing::kNone;
}

std::shared_ptr<const MappedFile> unpack(const MappedFile& file) {
  switch (packing_of(file.text())) {
    case Packing::kGzip:
      return unpack_gzip(file);
    case Packing::kZstd:
      return unpack_zstd(file);
    case Packing::kXz:
      return unpack_xz(file);
    case Packing::kNone:
      break;
  }
  return nullptr;
}

}  // namespace gavel::detail
