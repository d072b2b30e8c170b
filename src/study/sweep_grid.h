#pragma once
#include <string>
#include <utility>
#include <vector>

#include "recipe/recipe.h"

namespace gavel {

/** A key and its values, as the command line has them. */
struct SweptKey {
  std::string key;
  std::vector<std::string> values;
};

/** "section.key=a,b,c". A comma between [ and ], { and }, or quotes is part of a value: "lora.target_modules=[a, b],[c]",
 * "data.template='x, {prompt}',chat". Throws Error when the key is missing, a value is empty or twice there, or what opens
 * is not closed. */
SweptKey parse_swept_key(const std::string& text);

/** One choice of all swept values; the seeds are repetitions of it. */
struct SweepSetting {
  /** Swept keys and values, without the seed, in the order given; empty when seeds alone are swept. */
  std::vector<std::pair<std::string, std::string>> values;
  struct Run {
    std::string folder;  // its name
    std::string seed;    // "" unless seeds are swept
    Recipe recipe;
  };
  std::vector<Run> runs;
  /** "learning_rate=1e-4, r=8", or "recipe" when nothing but seeds is swept. */
  std::string name;
};

struct SweepGrid {
  /** Keys with one value hold for all runs. */
  std::vector<SweptKey> keys;
  std::vector<SweepSetting> settings;  // the first key changes slowest
  /** The recipe of all runs, without the swept values. */
  Recipe base;
};

/** All choices of values over the recipe of a file. Throws one Error with a line for every problem of every setting: a key
 * that is unknown, given twice, or can't be swept (it decides which rows are for validation, or where the run lies), a value
 * that is wrong, two settings that are the same; and when no key has several values. */
SweepGrid make_grid(const std::string& recipe_file, const std::vector<std::string>& texts);

}  // namespace gavel
