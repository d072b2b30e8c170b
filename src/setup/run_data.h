#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "cluster/process_group.h"
#include "data/dataset.h"
#include "recipe/recipe.h"
#include "rows/cleaning.h"
#include "setup/data_files.h"
#include "text/tokenizer.h"

namespace gavel {

/** Rows as tokens, and the number of rounds of each row's conversation. */
struct TokenizedRows {
  TokenizedDataset tokens;
  std::vector<int32_t> turns;
};

/** A file of data.train in a run. */
struct FileRows {
  std::filesystem::path path;
  CleaningReport report;
  int64_t rows = 0;  // of those kept, how many are taken (data.fraction, its own limit)
};

/** What a run trains and validates on: read, cleaned, tokenized, cut to data.fraction, and split. */
struct RunData {
  TokenizedRows train;
  std::optional<TokenizedRows> valid;
  CleaningReport train_report;  // of all files together
  std::vector<FileRows> files;
  std::optional<CleaningReport> valid_report;  // when data.valid is a file
  int64_t excluded_rows = 0;                   // left out of train for their prompts
  int64_t shared_prompts = 0;                  // validation rows whose prompt is in train too
  bool from_cache = false;                     // every file's tokens were there already
};

/** For the terminal: what cleaning met, statistics of the training rows with what is learnt beside their votes, and label counts
 * of the validation rows. */
std::string describe_data(const Recipe& recipe, const RunData& data);

/** Reads a recipe's data on a thread of its own, so that the device can be made ready meanwhile. The tokens are kept in
 * token_cache_folder() when data.cache is set. When the group has a store, each of its processes makes a loader,
 * tokenizes its share, and gets all rows. */
class RunDataLoader {
 public:
  /** Throws Error at once when a file or one of its columns is missing; else starts reading. */
  RunDataLoader(const Recipe& recipe, const Tokenizer& tokenizer, Purpose purpose = Purpose::kTrain,
                const ProcessGroup& group = {});
  /** Stops reading, and waits for that. */
  ~RunDataLoader();
  RunDataLoader(const RunDataLoader&) = delete;
  RunDataLoader& operator=(const RunDataLoader&) = delete;

  /** Waits for the data, with a progress bar on standard error; throws what reading threw. To be called once. */
  RunData get();

 private:
  /** The rows of data.train that are used: their numbers in `data`, in order. */
  std::vector<int64_t> usable_rows(const Recipe& recipe, const std::vector<TrainFile>& files, const LoadedDataset& data,
                                   const LoadedDataset* valid, RunData& out);
  RunData load(const Recipe& recipe, Purpose purpose, TokenizeOptions options, const TextEncoder& encoder,
               const ProcessGroup& group);

  /** Of the file at hand; throws when reading is to stop. */
  void report_bytes(int64_t bytes);

  int64_t total_bytes_ = 0;
  int64_t bytes_before_ = 0;  // of the files that are done
  std::atomic<int64_t> done_bytes_{0};
  std::atomic<bool> stop_{false};
  std::future<RunData> result_;
};

}  // namespace gavel
