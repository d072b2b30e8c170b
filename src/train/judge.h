#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/preferences.h"
#include "train/evaluate.h"
#include "train/session.h"

namespace gavel {

/** Which judge, and where it runs. */
struct JudgeOptions {
  /** A folder that Gavel trained (with recipe.yaml) or that PEFT saved (adapter_config.json alone). */
  std::filesystem::path adapter;
  /** Base model in place of the one that the adapter's folder names. */
  std::optional<std::string> model;
  /** "section.key=value" over the adapter's recipe. */
  std::vector<std::string> overrides;
};

/** A trained judge, ready to answer. */
class Judge {
 public:
  explicit Judge(const JudgeOptions& options);

  const Recipe& recipe() const { return recipe_; }
  /** Judges the rows, in order. */
  Judgement judge(const std::vector<PreferenceRow>& rows, const RowsDone& done = {});

 private:
  Recipe recipe_;
  std::optional<ModelFiles> files_;
  std::optional<Tokenizer> tokenizer_;
  std::unique_ptr<Engine> engine_;
};

/** Writes id,winner_model_a,winner_model_b,winner_tie, one line per row, in order; the file appears whole. */
void write_submission(const std::filesystem::path& path, const std::vector<PreferenceRow>& rows,
                      const Judgement& judgement);

}  // namespace gavel
