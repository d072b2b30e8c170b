#pragma once
#include <memory>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** Reads a preference file block by block, so that it may be larger than memory. Cells are parsed on all cores;
 * cleaning runs in file order. read_preferences() reads all blocks in one call. */
class RowStream {
 public:
  /** Throws Error when the file can't be opened, or a column is missing. */
  /** With `repeats`, rows that repeat one of another file are found too; of files that share it the next is read when one is
   * at its end. */
  RowStream(const std::filesystem::path& path, const ReadOptions& options,
            std::shared_ptr<RepeatFinder> repeats = nullptr);
  ~RowStream();
  RowStream(const RowStream&) = delete;
  RowStream& operator=(const RowStream&) = delete;

  /** Replaces `rows` by the kept rows of the next block (possibly none); false at the end. Throws as
   * read_preferences() does; at the end also when no row was kept. */
  bool next_block(std::vector<PreferenceRow>& rows);
  /** Whether the file has label columns. */
  bool has_labels() const;
  /** Bytes of the file worked through, and all of them; of a gzip file, what it holds. */
  int64_t bytes_read() const;
  int64_t bytes() const;
  /** What was met so far. */
  const CleaningReport& report() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/** The number of rows that a RowStream gives, all of which are parsed for it. Throws Error for what is wrong in any. */
int64_t count_rows(const std::filesystem::path& path, const ReadOptions& options);

}  // namespace gavel
