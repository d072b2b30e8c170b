#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "base/own_files.h"
#include "recipe/recipe.h"
#include "study/child_programs.h"

namespace gavel {

/** The folder of several runs that belong together, which one process holds (flock on .lock). study.json says what it is
 * of. */
class StudyFolder {
 public:
  /** `kind`: "folds" or "sweep". `settings`: what else the study is determined by, name and value. Throws Error when the
   * folder holds a run or another study, when another process holds it, or when the recipe, its data, its model or `settings`
   * are not those that the study began with; the message has a line for each. */
  StudyFolder(std::filesystem::path path, const std::string& kind, const Recipe& recipe,
              const std::vector<std::pair<std::string, std::string>>& settings);
  ~StudyFolder();
  StudyFolder(const StudyFolder&) = delete;
  StudyFolder& operator=(const StudyFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  void check(const std::string& kind, const Recipe& recipe,
             const std::vector<std::pair<std::string, std::string>>& settings) const;

  std::filesystem::path path_;
  int lock_ = -1;
};

/** One run of a study: where, and what. */
struct StudyRun {
  std::filesystem::path folder;
  Recipe recipe;  // its `output` and `train.resume` do not count

  /** Whether its adapter is there and it has nothing more to do. */
  bool is_finished() const;
  /** The step of its newest checkpoint; 0: none. */
  int64_t steps_done() const;
  /** What run.json says of an end without an adapter; "" when it says nothing. */
  std::string message() const;
};

/** How a run is started. */
struct StudyStart {
  std::filesystem::path program = own_program();
  /** Only warnings and errors. */
  bool quiet = false;
};

/** Trains the run to its end, or to `until` (0: its end), as a process of its own; it goes on from its newest checkpoint.
 * Returns that process's exit status. */
int train_run(ChildPrograms& children, const StudyRun& run, const StudyStart& start, int64_t until = 0);

/** Throws Error when a launcher (mpirun) started several processes: a study's runs would each have to join them. */
void require_one_process();

/** Throws Error when a file that the recipe names is not there. */
void require_files(const Recipe& recipe);

}  // namespace gavel
