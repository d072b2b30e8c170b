#pragma once
#include <memory>
#include <vector>

#include "rows/preferences.h"

namespace gavel {

/** Reads a preference file block by block, so that a file larger than memory can be worked through: cells are
 * parsed on all cores, cleaning runs in file order. read_preferences() is this in one call. */
class RowStream {
 public:
  RowStream(const std::filesystem::path& path, const ReadOptions& options);
  ~RowStream();
  RowStream(const RowStream&) = delete;
  RowStream& operator=(const RowStream&) = delete;

  /** Replaces `rows` by the kept rows of the next block (possibly none); false at the end. Throws as
   * read_preferences() does; at the end also when no row was kept. */
  bool next_block(std::vector<PreferenceRow>& rows);
  bool has_labels() const;
  /** Bytes of the file worked through. */
  int64_t bytes_read() const;
  /** What was met so far. */
  const CleaningReport& report() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/** Rows of a file, without parsing their cells (gigabytes a second). Throws when the file's structure is broken. */
int64_t count_rows(const std::filesystem::path& path, const ReadOptions& options);

}  // namespace gavel
