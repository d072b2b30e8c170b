// Folders as other programs leave them: each opens as transformers would open it, or is refused in a line that says why.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<std::pair<std::string, HostTensor>>;

void write_config(const TempFolder& folder, const std::string& more = "", const ModelConfig& config = tiny_config()) {
  std::string text = config.to_json(3, "float32");
  text.insert(1, more);
  folder.file("config.json", text);
}

/** A folder with other tensors, and more keys in its config ("\"key\":1,"). */
void write_model_folder(const TempFolder& folder, const Tensors& tensors, const std::string& more = "",
                        const ModelConfig& config = tiny_config()) {
  write_config(folder, more, config);
  write_safetensors(folder.path() / "model.safetensors", tensors, {});
}

void expect_refused(const TempFolder& folder, const std::vector<std::string>& parts) {
  expect_error([&] { ModelFiles::open(folder.path()); }, parts);
}

/** The names with this one in place of another. */
Tensors renamed(Tensors tensors, const std::function<std::string(const std::string&)>& name) {
  for (auto& [old, tensor] : tensors) old = name(old);
  return tensors;
}

TEST(Opening, ModelSafetensorsComesBeforeAnIndex) {
  TempFolder folder;
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32), older = tensors;
  for (auto& [name, tensor] : older) tensor = HostTensor(DType::kF32, tensor.shape());
  write_model_folder(folder, tensors);
  std::string map;
  for (const auto& [name, tensor] : older)
    map += fmt::format(R"({}"{}":"a.safetensors")", map.empty() ? "" : ",", name);
  folder.file("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  write_safetensors(folder.path() / "a.safetensors", older, {});
  ModelFiles files = ModelFiles::open(folder.path());
  EXPECT_EQ(files.read("model.norm.weight", DType::kF32).as<float>()[0], tensors[1].second.as<float>()[0]);
  ASSERT_EQ(files.notes().size(), 1u);
  EXPECT_THAT(files.notes()[0], testing::HasSubstr("model.safetensors.index.json beside it is not"));
}

TEST(Opening, BiasesThatNoLayerHasAreZero) {
  ModelConfig config = tiny_config();
  config.attention_bias = true;
  Tensors tensors = tiny_tensors(config, DType::kF32);
  for (int layer = 0; layer < 2; ++layer)
    for (auto [name, size] : {std::pair("q", 32), std::pair("k", 16), std::pair("v", 16)})
      tensors.emplace_back(fmt::format("model.layers.{}.self_attn.{}_proj.bias", layer, name),
                           HostTensor::from(std::vector<float>(static_cast<size_t>(size), 2), {size}));
  TempFolder folder;
  write_model_folder(folder, tensors, "", config);
  ModelFiles files = ModelFiles::open(folder.path());
  ASSERT_EQ(files.notes().size(), 1u);
  EXPECT_THAT(files.notes()[0],
              testing::HasSubstr("no layer has model.layers.*.self_attn.o_proj.bias: taken for zeros"));
  EXPECT_EQ(files.read("model.layers.1.self_attn.q_proj.bias", DType::kF32).as<float>()[3], 2);
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    HostTensor zero = files.read("model.layers.1.self_attn.o_proj.bias", dtype);
    EXPECT_EQ(zero.dtype(), dtype);
    EXPECT_EQ(zero.shape(), (Shape{32}));
    EXPECT_EQ(zero.to(DType::kF32).as<float>()[31], 0);
  }
  files.release("model.layers.1.self_attn.o_proj.bias");

  tensors.pop_back();  // one layer's v
  write_model_folder(folder, tensors, "", config);
  expect_refused(folder, {"'model.layers.1.self_attn.v_proj.bias' is missing"});
}

TEST(Opening, UnusedTensorsMayHaveAnyType) {
  TempFolder folder;
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  std::string header = "{\"__metadata__\":null", data;
  auto add = [&](const std::string& name, const std::string& type, const Shape& shape, const std::string& bytes) {
    std::string sizes = "[" + fmt::format("{}", fmt::join(shape, ",")) + "]";
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, type, sizes, data.size(),
                          data.size() + bytes.size());
    data += bytes;
  };
  for (const auto& [name, tensor] : tensors)
    add(name, "F32", tensor.shape(), std::string(static_cast<const char*>(tensor.data()), tensor.bytes()));
  for (auto [type, size] : std::initializer_list<std::pair<const char*, int>>{{"F8_E4M3", 8},
                                                                              {"F8_E5M2", 8},
                                                                              {"F8_E8M0", 8},
                                                                              {"F4", 4},
                                                                              {"F6_E2M3", 6},
                                                                              {"C64", 64},
                                                                              {"BOOL", 8},
                                                                              {"U8", 8},
                                                                              {"I16", 16},
                                                                              {"I64", 64},
                                                                              {"U64", 64},
                                                                              {"F64", 64}}) {
    add(std::string("extra.") + type, type, {4}, std::string(static_cast<size_t>(size) / 2, '\1'));
  }
  add("extra.empty", "F8_E4M3", {0, 7}, "");
  folder.file("model.safetensors", safetensors_bytes(header + "}", data));
  write_config(folder);
  ModelFiles files = ModelFiles::open(folder.path());
  EXPECT_EQ(files.unused().size(), 13u);
  expect_error([&] { files.read("extra.F8_E4M3", DType::kF32); }, {"'extra.F8_E4M3' holds F8_E4M3"});

  std::string needed = header;
  const std::string norm = R"("model.norm.weight":{"dtype":"F32","shape":[32])";
  needed.replace(needed.find(norm), norm.size(), R"("model.norm.weight":{"dtype":"I32","shape":[32])");
  folder.file("model.safetensors", safetensors_bytes(needed + "}", data));
  expect_refused(folder, {"model.safetensors", "'model.norm.weight' holds I32", "expected float32, bfloat16"});
}

TEST(Opening, QuantisedWeightsAreNamedBeforeAnythingElse) {
  TempFolder folder;
  for (const auto& [config, what] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"({"quant_method":"bitsandbytes","load_in_4bit":true})", "(bitsandbytes, 4 bits)"},
           {R"({"quant_method":"gptq","bits":4})", "(gptq, 4 bits)"},
           {R"({"quant_method":"awq","bits":4})", "(awq, 4 bits)"},
           {R"({"quant_method":"compressed-tensors","format":"float-quantized"})", "(compressed-tensors)"},
           {R"({"quant_method":"fp8"})", "(fp8)"},
           {"7", "(7)"}}) {
    folder.file("config.json", "{\"model_type\":\"unheard_of\",\"quantization_config\":" + config + "}");
    expect_refused(folder, {"'quantization_config'", what, ".gguf"});
  }
  folder.file("config.json", R"({"quantization":{"group_size":64,"bits":4}})");
  expect_refused(folder, {"'quantization'", "(MLX, 4 bits)"});
  write_model_folder(folder, tiny_tensors(tiny_config(), DType::kF32), "\"quantization_config\":null,");
  EXPECT_NO_THROW(ModelFiles::open(folder.path()));

  // Without a word in the config.
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  for (auto& [name, tensor] : tensors)
    if (name == "model.layers.0.self_attn.q_proj.weight") name = "model.layers.0.self_attn.q_proj.qweight";
  write_model_folder(folder, tensors);
  expect_refused(folder, {"'model.layers.0.self_attn.q_proj.weight' is missing", "are quantised"});
}

TEST(Opening, FoldersWithoutSafetensorsSayWhatTheyHave) {
  for (const auto& [name, what] : std::initializer_list<std::pair<std::string, std::string>>{
           {"model.fp16.safetensors", "variant"},
           {"model.fp16-00001-of-00002.safetensors", "variant"},
           {"model.safetensors.index.fp16.json", "neither model.safetensors nor"},
           {"model-00001-of-00002.safetensors", "index.json"},
           {"consolidated.safetensors", "maker's own format"},
           {"weights.safetensors", "rename it"},
           {"pytorch_model.bin", "save_pretrained"},
           {"pytorch_model.bin.index.json", "save_pretrained"},
           {"pytorch_model-00001-of-00002.bin", "save_pretrained"},
           {"consolidated.00.pth", "save_pretrained"},
           {"snapshots", "give the folder of one of them"},
           {"checkpoint-500", "give that folder"},
           {"tf_model.h5", "TensorFlow"},
           {"flax_model.msgpack", "Flax"},
           {"model.Q4_K_M.gguf", "give the file"},
           {"adapter_model.safetensors", "adapter"}}) {
    TempFolder folder;
    write_config(folder);
    folder.file(name, "x");
    folder.file("training_args.bin", "x");
    expect_refused(folder, {folder.path().string(), what});
    if (what.find("neither") == std::string::npos) expect_refused(folder, {"found " + name});
    fs::remove(folder.path() / "config.json");
    expect_refused(folder, {"config.json is missing"});
  }
  TempFolder dangling;
  write_config(dangling);
  fs::create_symlink(dangling.path() / "blob", dangling.path() / "model.safetensors");
  expect_refused(dangling, {"model.safetensors: it is a link to a file that is not there"});
}

TEST(Opening, ShardsMayLieInAFolderWithin) {
  TempFolder folder;
  write_config(folder);
  fs::create_directory(folder.path() / "sub");
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  write_safetensors(folder.path() / "sub/a.safetensors", tensors, {});
  auto index = [&](const std::string& shard) {
    std::string map;
    for (const auto& [name, tensor] : tensors)
      map += fmt::format(R"({}"{}":"{}")", map.empty() ? "" : ",", name, shard);
    folder.file("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  };
  index("sub/a.safetensors");
  EXPECT_TRUE(ModelFiles::open(folder.path()).notes().empty());
  for (const std::string& outside :
       {std::string("sub/../../a.safetensors"), (folder.path() / "sub/a.safetensors").string()}) {
    index(outside);
    expect_refused(folder, {"index.json", "must be a file within the folder"});
  }
}

TEST(Opening, OtherPathsSayWhatToGive) {
  TempFolder folder;
  write_model_folder(folder, tiny_tensors(tiny_config(), DType::kF32));
  expect_error([&] { ModelFiles::open(folder.path() / "model.safetensors"); }, {"give the folder that it lies in"});
  expect_error([&] { ModelFiles::open(folder.file("blob", tiny_gguf(tiny_config()).bytes())); }, {"ends with .gguf"});
  expect_error([&] { ModelFiles::open(folder.path() / "gone"); }, {"nothing is there"});
}

TEST(Opening, BesideConsolidatedFilesTheRightOneIsTaken) {
  TempFolder folder;
  write_model_folder(folder, tiny_tensors(tiny_config(), DType::kF32));
  folder.file("consolidated.safetensors", "not even a safetensors file");
  folder.file("pytorch_model.bin", "x");
  EXPECT_TRUE(ModelFiles::open(folder.path()).notes().empty());
}

TEST(Opening, PointersOfGitLfsAreNamed) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 269060552\n";
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  TempFolder folder;
  write_model_folder(folder, tensors);
  folder.file("model.safetensors", pointer);
  expect_refused(folder, {"model.safetensors: ", "git lfs pull"});
  fs::remove(folder.path() / "model.safetensors");
  folder.file("model.safetensors.index.json", pointer);
  expect_refused(folder, {"model.safetensors.index.json: ", "git lfs pull"});
  folder.file("config.json", pointer);
  expect_refused(folder, {"config.json: ", "git lfs pull"});
  expect_error([&] { ModelFiles::open(folder.file("m.gguf", pointer)); }, {"m.gguf: ", "git lfs pull"});
}

TEST(Opening, ModelsSavedFromWithinAnotherAreNamed) {
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  TempFolder folder;
  for (const std::string prefix : {"base_model.model.", "_orig_mod.", "module."}) {
    write_model_folder(folder, renamed(tensors, [&](const std::string& name) { return prefix + name; }));
    expect_refused(folder, {"'model.embed_tokens.weight' is missing",
                            "'" + prefix + "model.embed_tokens.weight' is there", "save the inner model"});
  }
  write_model_folder(folder, renamed(tensors, [](const std::string& name) { return name.substr(6); }));
  EXPECT_TRUE(ModelFiles::open(folder.path()).notes().empty());
}

TEST(Opening, UnknownKeysOfTheConfigAreNoted) {
  TempFolder folder;
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  write_model_folder(folder, tensors,
                     R"("residual_multiplier":0.22,"_name_or_path":"x","sliding_window":4096,"a_flag":false,)");
  ModelFiles files = ModelFiles::open(folder.path());
  ASSERT_EQ(files.notes().size(), 1u);
  EXPECT_THAT(files.notes()[0], testing::EndsWith("residual_multiplier, sliding_window")) << "a Llama has no window";
}

TEST(Opening, PythonsNumbersThatAreNoJson) {
  TempFolder folder;
  Tensors tensors = tiny_tensors(tiny_config(), DType::kF32);
  write_model_folder(folder, tensors,
                     R"("max_length":Infinity,"prefix":"a \"NaN\" \\","top_p":NaN,"min_p":-Infinity,)");
  EXPECT_TRUE(ModelFiles::open(folder.path()).notes().empty());
  folder.file("config.json", R"({"model_type":"llama","rms_norm_eps":NaN,"vocab_size":20,"hidden_size":32,
      "intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4})");
  expect_refused(folder, {"'rms_norm_eps' must be a number", "NaN"});
}

}  // namespace
}  // namespace gavel
