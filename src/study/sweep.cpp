#include "study/sweep.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "report/recorded_run.h"
#include "report/scores.h"
#include "report/table.h"
#include "study/halving.h"
#include "train/run_report.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** A rung's place in a run's folder: the rows are gone from validation.jsonl once the run goes on. */
fs::path rung_file(const StudyRun& run, int64_t step) {
  return run.folder / fmt::format("rung-{}.jsonl", step);
}

/** A setting with what is known of its runs. */
struct Contender {
  std::vector<StudyRun> runs;  // a seed each
  /** The rows of each seed's run after each rung that the setting came to. */
  std::vector<std::vector<ValidationRows>> rungs;
  bool finished = false, failed = false;

  /** Mean over the seeds after this rung; NaN where one of them is missing. */
  double log_loss(size_t rung) const {
    if (failed || rung >= rungs.size()) return std::nan("");
    double sum = 0;
    for (const ValidationRows& seed : rungs[rung]) sum += score(seed.rows).log_loss;
    return sum / static_cast<double>(rungs[rung].size());
  }
};

class Sweep {
 public:
  Sweep(const SweepGrid& grid, const SweepOptions& options)
      : grid_(grid), options_(options), children_(options.start.program) {
    for (const SweepSetting& setting : grid.settings) {
      Contender& contender = contenders_.emplace_back();
      for (const SweepSetting::Run& run : setting.runs) {
        require_files(run.recipe);
        require_validation(run);
        contender.runs.push_back({options.out / run.folder, run.recipe});
      }
    }
    std::vector<std::pair<std::string, std::string>> settings = {{"--halving", "none"}, {"--first-rung", "none"}};
    // More settings would have to be compared at rungs that finished runs went past.
    if (options.eta)
      settings = {{"--halving", fmt::format("{}", *options.eta)},
                  {"--first-rung", fmt::format("{}", options.first_rung)},
                  {"values", values_of(grid)}};
    folder_.emplace(options.out, "sweep", grid.base, settings);
  }

  StudyResult run() {
    std::vector<size_t> alive(contenders_.size());
    std::iota(alive.begin(), alive.end(), size_t{0});
    for (size_t rung = 0; !alive.empty(); ++rung) {
      // The last setting that is left has nothing to be compared with on the way.
      const int64_t step = alive.size() > 1 ? step_of(rung) : 0;
      for (size_t setting : alive) {
        train(setting, rung, step);
        if (children_.stop_signal() != 0) {
          write_results();
          spdlog::warn("stopped; the same command goes on from here");
          return {children_.stop_signal(), ""};
        }
      }
      write_results();
      if (step == 0) break;
      std::vector<double> losses;
      for (const Contender& contender : contenders_) losses.push_back(contender.log_loss(rung));
      const size_t before = alive.size();
      alive = survivors(alive, losses, *options_.eta);
      spdlog::info("after step {}, {} of {} settings go on", format_count(step), alive.size(), before);
      if (std::all_of(alive.begin(), alive.end(), [&](size_t setting) { return contenders_[setting].finished; })) break;
    }
    const SweepResults found = write_results();
    if (found.reference.empty()) fail("{}: no run succeeded; what they said is above", options_.out.string());
    for (const SettingResult& setting : found.settings)
      if (setting.step > 0 && setting.status != "failed" && !setting.difference)
        spdlog::warn(
            "{}: has other validation rows than {}, so that nothing is paired; give data.valid a file where settings "
            "change the rows",
            setting.name, found.reference);
    return {0, to_text(found)};
  }

 private:
  static void require_validation(const SweepSetting::Run& run) {
    const auto* share = std::get_if<double>(&run.recipe.data.valid);
    if (!run.recipe.data.folds && share != nullptr && *share == 0)
      fail("data.valid: runs are compared on validation rows, and with 0 there are none; give a share or a file");
  }

  static std::string values_of(const SweepGrid& grid) {
    std::string text;
    for (const SweptKey& key : grid.keys)
      text += fmt::format("{}{}={}", text.empty() ? "" : " ", key.key, fmt::join(key.values, ","));
    return text;
  }

  /** The step of a rung; 0: the runs' end. */
  int64_t step_of(size_t rung) const {
    if (!options_.eta) return 0;
    int64_t shortest = 0;
    for (const Contender& contender : contenders_)
      for (const StudyRun& run : contender.runs)
        if (const int64_t total = total_steps(run); total > 0 && (shortest == 0 || total < shortest)) shortest = total;
    // As long as no run has begun, its length may be unknown: then the first rung is tried.
    if (shortest == 0) return rung == 0 ? options_.first_rung : 0;
    const std::vector<int64_t> steps = rungs(options_.first_rung, *options_.eta, shortest);
    return rung + 1 < steps.size() ? steps[rung] : 0;
  }

  static int64_t total_steps(const StudyRun& run) {
    if (run.recipe.train.max_steps) return *run.recipe.train.max_steps;
    if (!fs::exists(run.folder / "metrics.jsonl")) return 0;
    const RecordedRun recorded = read_run(run.folder);
    const auto total = recorded.info.find("total_steps");
    return total != recorded.info.end() && total->is_number_integer() ? total->get<int64_t>() : 0;
  }

  /** Brings all seeds of a setting to the step (0: the end), and reads what they say of the validation rows there. */
  void train(size_t setting, size_t rung, int64_t step) {
    Contender& contender = contenders_[setting];
    std::vector<ValidationRows> rows;
    bool finished = true;
    for (size_t seed = 0; seed < contender.runs.size(); ++seed) {
      const StudyRun& run = contender.runs[seed];
      const bool has_rung = step > 0 && fs::exists(rung_file(run, step));
      if (!has_rung && !run.is_finished()) {
        if (children_.stop_signal() != 0) return;
        spdlog::info("setting {} of {}: {} {}", setting + 1, contenders_.size(), run.folder.string(),
                     step > 0 ? fmt::format("to step {}", format_count(step)) : std::string("to its end"));
        const int status = train_run(children_, run, options_.start, step);
        if (children_.stop_signal() != 0) return;
        if (status != 0 || (step == 0 && !run.is_finished())) {
          spdlog::warn("{}: its run ended with status {}{}; the others go on", run.folder.string(), status,
                       run.message().empty() ? "" : ": " + run.message());
          contender.failed = true;
          return;
        }
      }
      if (step > 0 && !has_rung) write_file(rung_file(run, step), read_text(run.folder / "validation.jsonl"));
      rows.push_back(read_validation(step > 0 ? rung_file(run, step) : run.folder / "validation.jsonl"));
      finished = finished && run.is_finished();
    }
    contender.finished = finished;
    contender.rungs.resize(rung);
    contender.rungs.push_back(std::move(rows));
  }

  SettingResult result_of(size_t setting) const {
    const Contender& contender = contenders_[setting];
    SettingResult result;
    result.name = grid_.settings[setting].name;
    for (const auto& [key, value] : grid_.settings[setting].values) result.values.push_back(value);
    if (contender.rungs.empty()) {
      result.status = contender.failed ? "failed" : "to do";
      return result;
    }
    const std::vector<ValidationRows>& seeds = contender.rungs.back();
    const auto count = static_cast<double>(seeds.size());
    result.seeds = static_cast<int64_t>(seeds.size());
    result.step = seeds.front().step;
    double squares = 0;
    std::vector<double> losses;
    for (const ValidationRows& seed : seeds) {
      const Scores scores = score(seed.rows);
      losses.push_back(scores.log_loss);
      result.log_loss += scores.log_loss / count;
      result.accuracy += scores.accuracy / count;
    }
    for (double loss : losses) squares += (loss - result.log_loss) * (loss - result.log_loss);
    result.log_loss_deviation = seeds.size() > 1 ? std::sqrt(squares / (count - 1)) : std::nan("");
    result.status = contender.failed     ? "failed"
                    : contender.finished ? "finished"
                                         : fmt::format("stopped at step {}", result.step);
    return result;
  }

  /** Finished settings by log loss, then those that came farthest, then the rest. */
  std::vector<size_t> by_result(const std::vector<SettingResult>& results) const {
    std::vector<size_t> order(results.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const Contender &ours = contenders_[a], &theirs = contenders_[b];
      if (ours.failed != theirs.failed) return theirs.failed;
      if (ours.finished != theirs.finished) return ours.finished;
      if (ours.rungs.size() != theirs.rungs.size() && !ours.finished) return ours.rungs.size() > theirs.rungs.size();
      if (ours.rungs.empty() || theirs.rungs.empty()) return theirs.rungs.empty() && !ours.rungs.empty();
      return results[a].log_loss < results[b].log_loss;
    });
    return order;
  }

  SweepResults compare() const {
    std::vector<SettingResult> results;
    for (size_t i = 0; i < contenders_.size(); ++i) results.push_back(result_of(i));
    const std::vector<size_t> order = by_result(results);
    SweepResults found;
    for (const SweptKey& key : grid_.keys)
      if (key.key != "train.seed") found.keys.push_back(key.key);
    auto is_usable = [&](size_t setting) {
      return !contenders_[setting].rungs.empty() && !contenders_[setting].failed;
    };
    const bool first = options_.reference == SweepOptions::Reference::kFirst && is_usable(0);
    const size_t reference = first ? 0 : order.front();
    const Contender& theirs = contenders_[reference];
    if (is_usable(reference)) {
      found.reference = results[reference].name;
      results[reference].is_reference = true;
      for (size_t i = 0; i < contenders_.size(); ++i) {
        const Contender& ours = contenders_[i];
        if (!is_usable(i)) continue;
        const size_t rung = std::min(ours.rungs.size(), theirs.rungs.size()) - 1;
        results[i].difference = difference_of_settings(ours.rungs[rung], theirs.rungs[rung]);
        results[i].compared_at = ours.rungs[rung].front().step;
      }
    }
    for (size_t i : order) found.settings.push_back(std::move(results[i]));
    return found;
  }

  SweepResults write_results() const {
    SweepResults found = compare();
    write_file(options_.out / "results.csv", to_csv(found));
    write_file(options_.out / "results.json", to_json(found));
    std::vector<fs::path> folders;
    for (const Contender& contender : contenders_)
      for (const StudyRun& run : contender.runs)
        if (fs::exists(run.folder / "metrics.jsonl")) folders.push_back(run.folder);
    if (!folders.empty()) {
      ReportOptions page;
      page.title = fmt::format("{} settings", contenders_.size());
      page.first_html = to_html(found);
      page.details = false;
      write_file(options_.out / "report.html", run_report(folders, page));
    }
    return found;
  }

  const SweepGrid& grid_;
  const SweepOptions& options_;
  ChildPrograms children_;
  std::vector<Contender> contenders_;
  std::optional<StudyFolder> folder_;
};

void check_halving(const SweepGrid& grid, const SweepOptions& options) {
  if (!options.eta) return;
  for (const SweepSetting& setting : grid.settings)
    for (const SweepSetting::Run& run : setting.runs)
      if (run.recipe.train.max_steps && options.first_rung >= *run.recipe.train.max_steps)
        fail("--first-rung: {} steps are not before the end of {}, which has {} (train.max_steps); give fewer",
             options.first_rung, setting.name, *run.recipe.train.max_steps);
}

}  // namespace

StudyResult run_sweep(const SweepGrid& grid, const SweepOptions& options) {
  require_one_process();
  check_halving(grid, options);
  return Sweep(grid, options).run();
}

}  // namespace gavel
