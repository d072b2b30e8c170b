#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "setup/outputs.h"
#include "train/run_report.h"

namespace gavel {

void add_report_command(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Make a self-contained HTML page of a run, or of several side by side");
  auto runs = std::make_shared<std::vector<std::string>>();
  auto out = std::make_shared<std::string>();
  command->add_option("runs", *runs, "Output folders of runs, also of ones under way")->required();
  command->add_option("--out", *out,
                      "File to write; default: report.html in the run's folder, or here for several runs");
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, "Write over a file that is there; a run's own report.html always is");
  command->callback([=] {
    std::vector<std::filesystem::path> folders(runs->begin(), runs->end());
    std::filesystem::path path = !out->empty()         ? std::filesystem::path(*out)
                                 : folders.size() == 1 ? folders[0] / "report.html"
                                                       : "report.html";
    if (!out->empty() || folders.size() > 1)
      require_free_file(out->empty() ? "report of several runs" : "--out", path, *overwrite, folders);
    std::string page = run_report(folders);
    write_file(path, page);
    spdlog::info("wrote {} ({} KB)", path.string(), page.size() / 1000);
  });
}

}  // namespace gavel
