// report, plan, parity and export.
#include <fmt/ranges.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "engine/device_traits.h"
#include "io/model_files.h"
#include "io/model_path.h"
#include "measure/parity.h"
#include "plan/plan.h"
#include "setup/open_device.h"
#include "setup/outputs.h"
#include "text/tokenizer.h"
#include "train/run_report.h"

namespace gavel {

namespace {

/** "mesh=1x8x1", or the recipe's keys, such as "mesh.fsdp=8". */
Mesh parity_mesh(const std::vector<std::string>& settings) {
  Mesh mesh;
  for (const std::string& setting : settings) {
    auto value = [&](std::string_view key) -> std::optional<std::string> {
      return setting.starts_with(key) ? std::optional(setting.substr(key.size())) : std::nullopt;
    };
    if (auto sizes = value("mesh="))
      mesh = parse_mesh(*sizes, "mesh");
    else if (auto dp = value("mesh.dp="))
      mesh.dp = parse_mesh(*dp + "x1x1", setting).dp;
    else if (auto fsdp = value("mesh.fsdp="))
      mesh.fsdp = parse_mesh(*fsdp + "x1x1", setting).dp;
    else if (auto mp = value("mesh.mp="))
      mesh.mp = parse_mesh(*mp + "x1x1", setting).dp;
    else
      fail("parity: '{}': expected mesh=DPxFSDPxMP, mesh.dp=…, mesh.fsdp=… or mesh.mp=…", setting);
  }
  for (int64_t size : {mesh.dp, mesh.fsdp, mesh.mp})
    if (size < 1) fail("parity: mesh {}: each axis must be at least 1", to_string(mesh));
  return mesh;
}

}  // namespace

void add_parity_command(CLI::App& app) {
  auto* command = app.add_subcommand("parity", "Compare with a folder of reference values from transformers + PEFT");
  auto folder = std::make_shared<std::string>(), device = std::make_shared<std::string>("cpu");
  auto scan = std::make_shared<bool>(false), unrolled = std::make_shared<bool>(false),
       plain = std::make_shared<bool>(false), narrow = std::make_shared<bool>(false),
       json = std::make_shared<bool>(false);
  command
      ->add_option("folder", *folder, "Folder with config.json, model.safetensors, adapter/, batch, recipe, expected")
      ->required();
  auto* as_scan = command->add_flag("--scan", *scan, "Layers as a scan with recompute");
  command->add_flag("--unrolled", *unrolled, "Layers written out (the default)")->excludes(as_scan);
  command->add_flag("--plain", *plain, "Plain StableHLO in place of the CPU kernels");
  command->add_flag("--bf16", *narrow, "Products of bfloat16, within the tolerances that these have");
  command->add_flag("--json", *json, "Print JSON");
  command->add_option("--device", *device, "cpu, cuda, tpu, or the path of a PJRT plugin");
  auto settings = std::make_shared<std::vector<std::string>>();
  command->add_option("settings", *settings,
                      "mesh=DPxFSDPxMP, or mesh.fsdp=8 and the like: over several devices (on the CPU virtual ones)");
  command->callback([=] {
    Mesh mesh = parity_mesh(*settings);
    auto client = make_client(*device, mesh.devices());
    ParityReport report = run_parity(
        *folder, *scan ? LayerForm::kScan : LayerForm::kUnrolled, *plain ? Kernels() : device_traits(*client).kernels,
        client, compile_cache_folder(), mesh, Recompute::kAll, *narrow ? DType::kBF16 : DType::kF32);
    std::string text = *json ? parity_json(report) + "\n" : format_parity(report);
    fmt::print("{}", text);
    if (!report.passed()) throw CLI::RuntimeError(1);
  });
}

void add_export_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("export", "Write a base model as a Hugging Face folder that PEFT opens adapters on");
  auto model = std::make_shared<std::string>(), out = std::make_shared<std::string>(),
       dtype = std::make_shared<std::string>("float32"), quantised = std::make_shared<std::string>();
  auto group_size = std::make_shared<int64_t>(64);
  auto labels = std::make_shared<std::optional<int64_t>>();
  command
      ->add_option("--model", *model,
                   fmt::format("Hugging Face folder, .gguf file, org/name of the hub, or one of {}",
                               fmt::join(packaged_models(), ", ")))
      ->required();
  command->add_option("--out", *out, "Folder to write")->required();
  command->add_option("--dtype", *dtype, "float32 or bfloat16")->check(CLI::IsMember({"float32", "bfloat16"}));
  command
      ->add_option("--quantised", *quantised,
                   "int8, nf4 or gguf: the numbers that model.dtype of that name makes of the weights, for comparing")
      ->check(CLI::IsMember({"int8", "nf4", "gguf"}));
  command->add_option("--group-size", *group_size, "As model.group_size, of int8")->check(CLI::IsMember({32, 64, 128}));
  command
      ->add_option("--num-labels", *labels,
                   "Labels of the classification head; default: as many as the model's own has, or 3")
      ->check(CLI::PositiveNumber);
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, "Write over a model that is there");
  command->callback([=] {
    fetch_model(*model);
    ModelFiles files = ModelFiles::open(*model);
    require_free_folder("--out", *out, *overwrite, std::vector<std::filesystem::path>{files.path()});
    if (*overwrite) remove_model_files(*out);
    for (const std::string& note : files.notes()) spdlog::warn("{}: {}", *model, note);
    ExportChanges changes;
    const std::map<std::string, TensorSpec> specs = specs_by_name(files.spec());
    BaseStorage storage{DType::kF32, {}};
    if (!quantised->empty()) {
      if (*quantised == "nf4" && *group_size != 64) fail("--group-size is of int8; blocks of nf4 are of 64");
      storage.dtype = DType::kBF16;
      storage.as_file = *quantised == "gguf";
      if (!storage.as_file)
        storage.quantisation = {*quantised == "int8" ? Quantisation::Codes::kInt8 : Quantisation::Codes::kNf4,
                                *group_size};
      changes.read = [&](const std::string& name) { return files.read_held(name, specs.at(name), storage); };
      for (const std::string& note : files.notes_on(storage)) spdlog::warn("{}: {}", *model, note);
    }
    export_folder(files, *out, *dtype == "float32" ? DType::kF32 : DType::kBF16, *labels, changes);
    Tokenizer::load(resolve_model_path(*model, kTokenizerFiles)).save(*out);
    spdlog::info("wrote {}", *out);
  });
}

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

void add_plan_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "plan", "What a recipe needs on a TPU, GPU or CPU, by compiling its step without the hardware");
  auto recipe = std::make_shared<std::string>(), target = std::make_shared<std::string>("cpu");
  auto overrides = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<bool>(false), brief = std::make_shared<bool>(false);
  command->add_option("recipe", *recipe, "Recipe file (YAML); model.path may be a built-in shape such as llama-3-8b")
      ->required();
  command->add_option("settings", *overrides, "section.key=value, over the recipe's own");
  command
      ->add_option("--target", *target,
                   "cpu; a100-40, a100-80, h100, h200, l4, l40s, rtx4090, rtx5090 or t4, with xN for several; "
                   "tpu-v3-8, tpu-v4-N, "
                   "tpu-v5e-N, tpu-v5p-N, tpu-v6e-N (N as in Google's names)")
      ->capture_default_str();
  command->add_flag("--json", *json, "Print JSON");
  command->add_flag("--no-remedies", *brief, "Do not look for what would make it fit");
  command->callback([=] {
    Plan plan = make_plan(load_recipe(*recipe, *overrides), {.target = *target, .remedies = !*brief});
    fmt::print("{}{}", *json ? plan_json(plan) : format_plan(plan), *json ? "\n" : "");
    if (!plan.fits) throw CLI::RuntimeError(3);
  });
  command->footer(
      "Exit status: 0 when it fits, 3 when it does not, 1 for an error. Nothing is trained; what is told was "
      "compiled, never run.\n"
      "The plugins for tpu and cuda are fetched with `gavel doctor --fetch tpu` and `--fetch cuda`.");
}

}  // namespace gavel
