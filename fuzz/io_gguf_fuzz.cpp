// Any bytes as a GGUF file and as a whole model: an Error, or metadata and tensors that all can be read.
#include "fuzz_target.h"
#include "input_file.h"
#include "io/gguf.h"
#include "io/model_files.h"
#include "io/sample_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  auto path = folder.write("input.gguf", {reinterpret_cast<const char*>(data), size});
  try {
    auto file = gavel::GgufFile::open(path);
    for (const auto& [name, info] : file->tensors())
      if (gavel::ggml_block(info.type)->readable && file->read(name).size() != gavel::num_elements(info.shape))
        std::abort();
  } catch (const gavel::Error&) {
  }
  try {
    auto files = gavel::ModelFiles::open(path);
    for (const auto& name : files.names()) {
      try {
        files.read(name, gavel::DType::kF32);
        files.read(name, gavel::DType::kBF16);
      } catch (const gavel::Error&) {
      }
    }
    files.config().to_json(3, "float32");
    for (const auto& tensor : files.spec().base_tensors()) {
      try {
        files.read_held(tensor.name, tensor.spec, {gavel::DType::kBF16, {}, true});
      } catch (const gavel::Error&) {
      }
    }
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  gavel::GgufWriter types;
  uint32_t numbers[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 20, 23, 26, 30, 34, 35, 39};
  for (uint32_t number : numbers) {
    auto block = *gavel::ggml_block(number);
    types.add_tensor({"t." + block.name, {2, block.elements}, number, std::string(2 * block.bytes, '\3')});
  }
  types.add_integer("general.alignment", 32);
  types.add(
      "list", 9,
      gavel::raw(uint32_t{8}) + gavel::raw(uint64_t{2}) + gavel::GgufWriter::text("a") + gavel::GgufWriter::text("bc"));
  types.add("lists", 9,
            gavel::raw(uint32_t{9}) + gavel::raw(uint64_t{1}) + gavel::raw(uint32_t{0}) + gavel::raw(uint64_t{0}));
  gavel::ModelConfig config = gavel::tiny_config();
  config.num_hidden_layers = 1;
  config.hidden_size = config.intermediate_size = 8;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.vocab_size = 3;
  gavel::GgufWriter model = gavel::tiny_gguf(config);
  gavel::GgufWriter scaled = model;
  scaled.add_f32("rope_freqs.weight", {2}, {1, 8});
  scaled.add_f32("blk.7.attn_q.weight", {}, {1});
  scaled.add_f32("blk.0.attn_k.bias", {4}, {1, 2, 3, 4});
  config.hidden_size = config.intermediate_size = 32;
  config.head_dim = 16;
  gavel::GgufWriter in_blocks = gavel::tiny_gguf(config);
  gavel::in_blocks(in_blocks, [](const std::string& name) {
    return name.find("attn") != std::string::npos ? gavel::GgmlType::kQ4_1 : gavel::GgmlType::kQ5_0;
  });
  return {types.bytes(), model.bytes(), scaled.bytes(), in_blocks.bytes()};
}
