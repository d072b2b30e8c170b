#pragma once
#include <string>

#include "recipe/recipe.h"
#include "study/study_folder.h"

namespace gavel {

struct FoldsOptions {
  StudyStart start;
  /** The folder gets the mean of the folds' adapters, in place of predicting with all of them. */
  bool average = false;
};

/** What an interrupted or finished study ends with. */
struct StudyResult {
  /** The signal that ended it before its end; 0: it is finished. */
  int signal = 0;
  /** The results as a text for the terminal; empty unless it is finished. */
  std::string text;
};

/** A mean over the folds and its standard error, their standard deviation (n - 1) over the root of their number. */
struct MeanOfFolds {
  double mean = 0, standard_error = 0;
};
MeanOfFolds mean_of(const std::vector<double>& values);

/** Trains the folds data.fold = 0, 1, … of the recipe's data.folds one after the other in the folders fold-0, fold-1, … of
 * `output`, each as a process of its own, then writes what docs/studies.md says: all rows as the judge said of them that
 * did not see them, a temperature fitted on these, figures, a page, and ensemble.json or the mean adapter. Called again, it
 * goes on where it was. Throws Error when a fold fails, and as StudyFolder() does. */
StudyResult run_folds(const Recipe& recipe, const FoldsOptions& options);

}  // namespace gavel
