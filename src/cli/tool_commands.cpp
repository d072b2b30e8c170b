// parity, export and doctor.
#include "base/log.h"
#include "cli/commands.h"
#include "train/parity.h"
#include "train/session.h"

namespace gavel {

void add_parity_command(CLI::App& app) {
  auto* command = app.add_subcommand("parity", "Compare with a folder of reference values from transformers + PEFT");
  auto folder = std::make_shared<std::string>(), device = std::make_shared<std::string>("cpu");
  auto scan = std::make_shared<bool>(false), unrolled = std::make_shared<bool>(false), plain = std::make_shared<bool>(false),
       json = std::make_shared<bool>(false);
  command->add_option("folder", *folder, "Folder with config.json, model.safetensors, adapter/, batch, recipe, expected")
      ->required();
  auto* as_scan = command->add_flag("--scan", *scan, "Layers as a scan with recompute");
  command->add_flag("--unrolled", *unrolled, "Layers written out (the default)")->excludes(as_scan);
  command->add_flag("--plain", *plain, "Plain StableHLO in place of the CPU kernels");
  command->add_flag("--json", *json, "Print JSON");
  command->add_option("--device", *device, "cpu, cuda, tpu, or the path of a PJRT plugin");
  command->callback([=] {
    auto client = make_client(*device);
    ParityReport report = run_parity(*folder, *scan ? LayerForm::kScan : LayerForm::kUnrolled,
                                     *plain ? Kernels::kPlain : best_kernels(*client), client, compile_cache_folder());
    std::string text = *json ? parity_json(report) + "\n" : format_parity(report);
    fmt::print("{}", text);
    if (!report.passed()) throw CLI::RuntimeError(1);
  });
}

void add_export_command(CLI::App& app) {
  auto* command = app.add_subcommand("export", "Write a base model as a Hugging Face folder that PEFT opens adapters on");
  auto model = std::make_shared<std::string>(), out = std::make_shared<std::string>(), dtype = std::make_shared<std::string>("float32");
  auto labels = std::make_shared<int64_t>(3);
  command->add_option("--model", *model, "Hugging Face folder, .gguf file, or smollm2-135m-instruct")->required();
  command->add_option("--out", *out, "Folder to write")->required();
  command->add_option("--dtype", *dtype, "float32 or bfloat16")->check(CLI::IsMember({"float32", "bfloat16"}));
  command->add_option("--num-labels", *labels, "Labels of the classification head")->check(CLI::PositiveNumber);
  command->callback([=] {
    ModelFiles files = ModelFiles::open(*model);
    export_folder(files, *out, *dtype == "float32" ? DType::kF32 : DType::kBF16, *labels);
    Tokenizer::load(resolve_model_path(*model)).save(*out);
    spdlog::info("wrote {}", *out);
  });
}

void add_doctor_command(CLI::App& app) {
  auto* command = app.add_subcommand("doctor", "What is installed: plugins and their devices");
  command->callback([] {
    for (const char* name : {"cpu", "cuda", "tpu"}) {
      try {
        auto plugin = pjrt::Plugin::load(name);
        auto client = pjrt::Client::create(plugin);
        fmt::print("{:<5} ok: {} device(s) {}, PJRT {}.{}, {}\n", name, client->devices().size(), client->device(0).kind,
                   plugin->api_major(), plugin->api_minor(), plugin->path().string());
      } catch (const Error& error) {
        fmt::print("{:<5} not usable: {}\n", name, error.what());
      }
    }
    try {
      fmt::print("model smollm2-135m-instruct: {}\n", resolve_model_path("smollm2-135m-instruct").string());
    } catch (const Error& error) {
      fmt::print("{}\n", error.what());
    }
  });
}

}  // namespace gavel
