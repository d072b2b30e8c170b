// Any bytes as an adapter's adapter_config.json: an Error, or answers about modules that are the same a second time.
#include <cmath>
#include <cstdlib>

#include "base/log.h"
#include "fuzz_target.h"
#include "input_file.h"
#include "model/peft_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  spdlog::set_level(spdlog::level::off);  // keys without effect are warned of
  folder.write("adapter_config.json", {reinterpret_cast<const char*>(data), size});
  try {
    const auto config = gavel::PeftConfig::read(folder.path()), again = gavel::PeftConfig::read(folder.path());
    for (const char* module :
         {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "score", "q_proj", ""}) {
      const auto branch = config.branch(module), second = again.branch(module);
      if (branch.has_value() != second.has_value()) std::abort();
      if (branch && (branch->r < 1 || !std::isfinite(branch->scaling))) std::abort();
      config.targets(module);
      config.saves(module);
    }
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string head =
      R"({"peft_type":"LORA","task_type":"SEQ_CLS","base_model_name_or_path":"base","r":4,"lora_alpha":8,"lora_dropout":0.05,"bias":"none",)";
  return {
      head + R"("target_modules":["q_proj","v_proj"],"modules_to_save":["classifier","score"]})",
      head + R"("target_modules":"all-linear","use_rslora":true,"use_dora":true,"modules_to_save":["score"]})",
      head +
          R"("target_modules":".*\\.(q|v)_proj$","rank_pattern":{"^model\\.layers\\.[0-3]\\.":2},"alpha_pattern":{"q_proj":16}})",
      head +
          R"("target_modules":["q_proj"],"layers_to_transform":[0,1],"layers_pattern":"layers","exclude_modules":["v_proj"]})",
      head + R"("target_modules":["q_proj"],"layers_to_transform":[0,1],"layers_pattern":["h","|layers"]})",
      head + R"("target_modules":"(?P<x>a)(?P=x)|(?<=model)\\.(?!score)[^.]+\\Z"})",
      "{}",
      "[]"};
}
