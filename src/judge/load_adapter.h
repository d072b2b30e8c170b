#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/model_files.h"
#include "judge/calibration.h"
#include "model/combine.h"
#include "recipe/recipe.h"
#include "text/tokenizer.h"

namespace gavel {

/** Which judge, and with which settings. */
struct JudgeOptions {
  /** A folder that Gavel trained (with recipe.yaml) or that PEFT saved (adapter_config.json alone). */
  std::filesystem::path adapter;
  /** Base model in place of the one that the adapter's folder names. */
  std::optional<std::string> model;
  /** "section.key=value" over the adapter's recipe. */
  std::vector<std::string> overrides;
  /** Whether calibration.json beside the adapter is used. */
  bool use_temperature = true;
  /** Called with the judge's recipe before a Judge opens its device: what is wrong with the data is told first. */
  std::function<void(const Recipe&)> before_device = {};
};

/** All that belongs to a trained judge, read and checked; nothing is on a device yet. */
struct LoadedAdapter {
  /** The one beside the adapter, else (an adapter that PEFT saved) the defaults, with weights held in float32 if the base
   * has such; with JudgeOptions' overrides. */
  Recipe recipe;
  bool has_own_recipe = false;
  ModelFiles files;
  Tokenizer tokenizer;
  LoadedAdapterWeights weights;
  /** Empty where there is none, or it was fitted for something else, which a line of the log tells. */
  CalibrationFile calibration;
};

/** Empties a folder's calibration that was not fitted for `now`, with a line of the log. */
void drop_if_fitted_for_another(CalibrationFile& calibration, const std::filesystem::path& folder,
                                const CalibrationKey& now);

/** Downloads the base model that the caller names (`model`, or model.path among the settings) where it is of the Hugging Face hub and
 * not in the cache. What an adapter's own files name is never asked of the network. load_adapter() does this too. */
void fetch_named_model(const JudgeOptions& options);

/** Throws Error naming the file when something is missing, damaged, or does not belong together, or when the folder is an
 * ensemble, of which a Judge alone makes one. */
LoadedAdapter load_adapter(const JudgeOptions& options);

/** Throws Error unless the two read rows in the same way: what is made of both would be of judges of other texts. `what`: for
 * the message, "average". */
void require_read_alike(const std::string& what, const std::filesystem::path& folder, const Recipe& recipe,
                        const std::filesystem::path& first_folder, const Recipe& first);

}  // namespace gavel
