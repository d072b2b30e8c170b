// Any bytes as a config.json and as a shard index: an Error, or a config that says the same when written and
// read again.
#include "fuzz_target.h"
#include "input_file.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "io/sample_files.h"
#include "spec/model_config.h"

namespace {

/** A folder whose shard holds what the tiny config calls for. */
const gavel::InputFolder& model_folder() {
  static const gavel::InputFolder folder;
  static const bool written = [] {
    auto config = gavel::tiny_config();
    folder.write("config.json", config.to_json(3, "float32"));
    gavel::write_safetensors(folder.path() / "s.safetensors", gavel::tiny_tensors(config, gavel::DType::kF32), {});
    return true;
  }();
  (void)written;
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    auto config = gavel::ModelConfig::from_json(text, "input");
    std::string written = config.to_json(3, "bfloat16");
    if (gavel::ModelConfig::from_json(written, "written").to_json(3, "bfloat16") != written) std::abort();
  } catch (const gavel::Error&) {
  }
  try {
    model_folder().write("model.safetensors.index.json", text);
    gavel::ModelFiles::open(model_folder().path());
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  auto config = gavel::tiny_config();
  std::string plain = config.to_json(3, "float32");
  config.rope.scaling = {"llama3", 8, 1, 4, 8192};
  std::string index = R"({"metadata":{"total_size":1},"weight_map":{)";
  for (const auto& [name, tensor] : gavel::tiny_tensors(config, gavel::DType::kF32))
    index += fmt::format("{}\"{}\":\"s.safetensors\"", index.ends_with('{') ? "" : ",", name);
  return {
      plain,
      config.to_json(2, "bfloat16"),
      R"({"vocab_size":9,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"rope_scaling":{"type":"linear","factor":2.5},"eos_token_id":[3,4]})",
      index + "}}",
      R"({"weight_map":{"a":"../x","b":"..","c":"","d":[[[]]]}})",
  };
}
