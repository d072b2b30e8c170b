// Packed files: whole ones are their content, whatever they are packed with and in how many parts; others are refused by name.
#include <gmock/gmock.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <zstd.h>

#include "base/error.h"
#include "base/random.h"
#include "data/test_support.h"
#include "files/open_table.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

std::string pack_gzip(std::string text) {
  std::string out(text.size() + 1000, '\0');
  isal_zstream stream;
  isal_deflate_init(&stream);
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.next_in = reinterpret_cast<uint8_t*>(text.data());
  stream.avail_in = static_cast<uint32_t>(text.size());
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uint32_t>(out.size());
  EXPECT_EQ(isal_deflate(&stream), COMP_OK);
  out.resize(stream.total_out);
  return out;
}

std::string pack_zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::string pack_xz(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(text.data()),
                                    text.size(), reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
            LZMA_OK);
  out.resize(size);
  return out;
}

struct Packer {
  std::string name, kind;
  std::string (*pack)(std::string);
};

const Packer kPackers[] = {{".gz", "gzip", pack_gzip},
                           {".zst", "Zstandard", [](std::string text) { return pack_zstd(text); }},
                           {".xz", "xz", [](std::string text) { return pack_xz(text); }}};

/** A table longer than a decoder's buffer. */
std::string long_table() {
  std::string out = "id,text\n";
  for (uint64_t row = 0; row < 60000; ++row) out += fmt::format("{},{:x}\n", row, mix64(row));
  return out;
}

class Unpack : public testing::Test {
 protected:
  TableFile open(const std::string& name, const std::string& bytes) const {
    return open_table(folder_.write(name, bytes));
  }
  std::string error(const std::string& name, const std::string& bytes) const {
    return error_of([&] { open(name, bytes); });
  }
  TempFolder folder_;
};

TEST_F(Unpack, EveryKindIsReadWhateverItsName) {
  const std::string csv = long_table(), json = "{\"a\": 1}\n";
  for (const Packer& packer : kPackers) {
    SCOPED_TRACE(packer.kind);
    TableFile table = open("a.csv" + packer.name, packer.pack(csv));
    EXPECT_EQ(table.file->text(), csv);
    EXPECT_EQ(table.kind, TableKind::kCsv);
    table = open("a.jsonl" + packer.name, packer.pack(json));
    EXPECT_EQ(table.file->text(), json);
    EXPECT_EQ(table.kind, TableKind::kJson);
    EXPECT_EQ(open("a.bin", packer.pack(json)).kind, TableKind::kJson);
    // The name promises what is not there.
    EXPECT_EQ(open("b.csv" + packer.name, csv).file->text(), csv);
  }
}

TEST_F(Unpack, AllPartsAreReadOneAfterTheOther) {
  const std::string csv = long_table(), first = csv.substr(0, 1000), rest = csv.substr(1000);
  for (const Packer& packer : kPackers)
    EXPECT_EQ(open("a.csv", packer.pack(first) + packer.pack("") + packer.pack(rest)).file->text(), csv) << packer.kind;
  // A frame of zstd that is to be skipped, and the padding between streams of xz.
  const std::string skipped("\x5A\x2A\x4D\x18\x03\0\0\0xyz", 11), padding(8, '\0');
  EXPECT_EQ(open("a.csv", skipped + pack_zstd(first) + skipped + pack_zstd(rest) + skipped).file->text(), csv);
  EXPECT_EQ(open("a.csv", pack_xz(first) + padding + pack_xz(rest) + padding).file->text(), csv);
}

TEST_F(Unpack, TornFilesAreNamedWithTheByte) {
  const std::string csv = long_table();
  for (const Packer& packer : kPackers) {
    const std::string whole = packer.pack(csv);
    for (size_t size : {size_t{8}, size_t{20}, whole.size() / 2, whole.size() - 1})
      EXPECT_THAT(error("torn.csv" + packer.name, whole.substr(0, size)),
                  AllOf(HasSubstr("torn.csv" + packer.name + ": the " + packer.kind + " file ends early, after "),
                        HasSubstr("fetch or pack it again")))
          << size;
    // The second part is torn.
    EXPECT_THAT(error("torn.csv", whole + whole.substr(0, whole.size() / 2)), HasSubstr("ends early"));
  }
}

TEST_F(Unpack, DamagedFilesAreNamedWithTheByte) {
  const std::string csv = long_table();
  for (const Packer& packer : kPackers) {
    const std::string whole = packer.pack(csv);
    for (size_t at : {size_t{40}, whole.size() / 2, whole.size() - 3}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
      EXPECT_THAT(error("d.csv", damaged),
                  AnyOf(HasSubstr("d.csv: a damaged " + packer.kind + " file, near byte "), HasSubstr("ends early")))
          << at;
    }
  }
  EXPECT_THAT(error("d.csv", pack_zstd("a,b\n") + "more"), HasSubstr("a damaged Zstandard file"));
  EXPECT_THAT(error("d.csv", pack_xz("a,b\n") + "more than is right"), HasSubstr("a damaged xz file"));
}

TEST_F(Unpack, WhatWasMadeToFillADiskOrMemoryIsRefused) {
  const std::string zeros(size_t{66} << 20, '0');
  EXPECT_THAT(error("bomb.csv.zst", pack_zstd(zeros)),
              AllOf(HasSubstr("bomb.csv.zst: becomes more than 200 times as long"), HasSubstr("zstd -d")));
  EXPECT_THAT(error("bomb.csv.xz", pack_xz(zeros)),
              AllOf(HasSubstr("bomb.csv.xz: becomes more than 200 times as long"), HasSubstr("xz -dk")));
  // A frame of one byte that asks for a window of 256 MiB, and the same with one of 128 MiB, which is given.
  const std::string wide("\x28\xB5\x2F\xFD\0\x90\x09\0\0x", 10), narrow("\x28\xB5\x2F\xFD\0\x88\x09\0\0x", 10);
  EXPECT_THAT(error("wide.csv.zst", wide), AllOf(HasSubstr("takes more memory"), HasSubstr("zstd -d --long=31")));
  // The same, of a dictionary with the number 7.
  EXPECT_THAT(error("own.csv.zst", std::string("\x28\xB5\x2F\xFD\x01\x88\x07\x09\0\0x", 11)),
              HasSubstr("packed with a dictionary"));
  EXPECT_EQ(open("wide.csv.zst", narrow).file->text(), "x");
}

TEST_F(Unpack, WhatIsNoTableInsideIsRefused) {
  for (const Packer& packer : kPackers) {
    EXPECT_THAT(error("p.parquet" + packer.name, packer.pack("PAR1...")), HasSubstr("found Parquet: unpack it first"));
    for (const Packer& inner : kPackers)
      EXPECT_THAT(error("t" + packer.name, packer.pack(inner.pack("a,b\n"))), HasSubstr("found another packed file"));
    EXPECT_THAT(error("z" + packer.name, packer.pack("PK\x03\x04")), HasSubstr("found a zip file"));
  }
  const std::string bzip2 = "BZh9\x31\x41\x59\x26\x53\x59";
  EXPECT_THAT(error("b.csv", bzip2), HasSubstr("found a bzip2 file"));
  // Every beginning of one is a column's name.
  for (size_t size = 1; size < bzip2.size(); ++size)
    EXPECT_EQ(open("b.csv", bzip2.substr(0, size)).file->text().size(), size);
}

}  // namespace
}  // namespace gavel
