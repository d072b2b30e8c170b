// A judge on a quantised base, from training to merging, by the commands.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <sstream>

#include "cli/cli_fixture.h"
#include "io/gguf_samples.h"
#include "io/model_files.h"
#include "io/safetensors.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/** On a model whose linears' inputs groups of 64 divide. */
class QuantisedJudge : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden_int8" / name, model() / name,
                    fs::copy_options::overwrite_existing);
  }

  int train(const std::string& storage) const {
    return run({"train", file("recipe.yaml").string(), "model.dtype=" + storage, "model.compute_dtype=float32",
                "train.max_steps=2", "data.valid=0"});
  }
  std::string predict(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {
        "predict", "--adapter", file("run").string(), "--data", file("test.csv").string(), "--out", file(out).string()};
    all.insert(all.end(), more.begin(), more.end());
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(all), 0);
    return testing::internal::GetCapturedStderr();
  }
  /** All probabilities of a file of predictions. */
  std::vector<double> numbers(const std::string& name) const {
    std::istringstream text(read_text(file(name)));
    std::string line, cell;
    std::getline(text, line);
    std::vector<double> all;
    while (std::getline(text, line)) {
      std::istringstream cells(line);
      std::getline(cells, cell, ',');  // the row's id
      while (std::getline(cells, cell, ',')) all.push_back(std::stod(cell));
    }
    return all;
  }
  double distance(const std::string& one, const std::string& other) const {
    const std::vector<double> a = numbers(one), b = numbers(other);
    EXPECT_GE(a.size(), 36u);
    EXPECT_EQ(a.size(), b.size());
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
    return largest;
  }
};

TEST_F(QuantisedJudge, JudgesAndMergesOnWhatItWasTrainedOn) {
  for (const std::string storage : {"int8", "nf4"}) {
    SCOPED_TRACE(storage);
    for (const char* folder : {"run", "numbers", "merged"}) fs::remove_all(file(folder));
    ASSERT_EQ(train(storage), 0);
    EXPECT_THAT(read_text(file("run") / "recipe.yaml"), HasSubstr("dtype: " + storage));
    EXPECT_THAT(read_text(file("run") / "run.json"), HasSubstr(storage + " in groups of 64"));
    // Without a word it follows, and on the numbers that the codes mean it judges the same.
    EXPECT_THAT(predict("own.csv", {"--overwrite"}), Not(HasSubstr("held in")));
    ASSERT_EQ(run({"export", "--model", model().string(), "--out", file("numbers").string(), "--quantised", storage}),
              0);
    const std::vector<std::string> on_numbers = {"--overwrite", "--model", file("numbers").string(),
                                                 "model.dtype=float32"};
    EXPECT_THAT(predict("numbers.csv", on_numbers), HasSubstr("trained on a base held in " + storage +
                                                              " in groups of 64, and judging on one held in float32"));
    EXPECT_LT(distance("own.csv", "numbers.csv"), 1e-5);
    // On the base as its file has it, it does not.
    predict("plain.csv", {"--overwrite", "model.dtype=float32"});
    EXPECT_GT(distance("own.csv", "plain.csv"), 1e-5);
    // What the adapter does not touch is in the merged model as the numbers are.
    ASSERT_EQ(run({"merge", "--adapter", file("run").string(), "--out", file("merged").string()}), 0);
    const char *untouched = "model.layers.1.mlp.up_proj.weight", *adapted = "model.layers.1.self_attn.o_proj.weight";
    auto bytes = [&](const char* folder, const char* name) {
      const HostTensor tensor = SafetensorsFile::open(file(folder) / "model.safetensors")->tensor(name);
      return std::string(static_cast<const char*>(tensor.data()), tensor.bytes());
    };
    EXPECT_EQ(bytes("merged", untouched), bytes("numbers", untouched));
    EXPECT_NE(bytes("merged", adapted), bytes("numbers", adapted));
  }
}

/** A GGUF file with K-quants is trained on, judged on and merged as the numbers that it holds, by that word of the recipe. */
TEST_F(QuantisedJudge, JudgesOnTheTypesOfAGgufFile) {
  ModelConfig config = k_quant_config();
  config.vocab_size = ModelConfig::from_file(model() / "config.json").vocab_size;
  config.num_hidden_layers = 2;
  write_file(file("k.gguf"), k_quant_gguf(config).bytes());
  const std::vector<std::string> on_file = {"model.path=" + file("k.gguf").string(),
                                            "model.tokenizer=" + (model() / "tokenizer.json").string()};
  std::vector<std::string> command = {"train",
                                      file("recipe.yaml").string(),
                                      "model.dtype=gguf",
                                      "train.max_steps=2",
                                      "model.compute_dtype=float32",
                                      "data.valid=0"};
  command.insert(command.end(), on_file.begin(), on_file.end());
  ASSERT_EQ(run(command), 0);
  EXPECT_THAT(read_text(file("run") / "recipe.yaml"), HasSubstr("dtype: gguf"));
  EXPECT_THAT(read_text(file("run") / "run.json"), HasSubstr("the types of its GGUF file"));
  predict("own.csv");
  // As gavel export --quantised gguf, for a file without a tokenizer of its own.
  const ModelFiles base = ModelFiles::open(file("k.gguf"));
  const auto specs = specs_by_name(base.spec());
  ExportChanges changes;
  changes.read = [&](const std::string& name) {
    return base.read_held(name, specs.at(name), {DType::kBF16, {}, true});
  };
  export_folder(base, file("numbers"), DType::kF32, 3, changes);
  const std::vector<std::string> on_numbers = {"--overwrite", "--model", file("numbers").string()};
  std::vector<std::string> float32 = on_numbers;
  float32.emplace_back("model.dtype=float32");
  EXPECT_THAT(predict("numbers.csv", float32),
              HasSubstr("trained on a base held in the types of its GGUF file, and judging on one held in float32"));
  EXPECT_LT(distance("own.csv", "numbers.csv"), 1e-5);
  // A folder has no such types, and nothing else is taken in their place.
  std::vector<std::string> refused = {
      "predict", "--adapter",           file("run").string(), "--data", file("test.csv").string(),
      "--out",   file("x.csv").string()};
  refused.insert(refused.end(), on_numbers.begin(), on_numbers.end());
  EXPECT_THAT(error_of(refused), AllOf(HasSubstr("model.dtype: gguf"), HasSubstr("take a .gguf file")));
  ASSERT_EQ(run({"merge", "--adapter", file("run").string(), "--out", file("merged").string()}), 0);
  const char* untouched = "model.layers.1.mlp.down_proj.weight";
  auto bytes = [&](const char* folder) {
    const HostTensor tensor = SafetensorsFile::open(file(folder) / "model.safetensors")->tensor(untouched);
    return std::string(static_cast<const char*>(tensor.data()), tensor.bytes());
  };
  EXPECT_EQ(bytes("merged"), bytes("numbers"));
}

TEST_F(QuantisedJudge, GroupsThatDoNotFitAreRefused) {
  EXPECT_THAT(train_error({"model.dtype=int8", "model.group_size=128"}),
              AllOf(HasSubstr("q_proj.weight has 64 inputs"), HasSubstr("model.group_size")));
  EXPECT_THAT(train_error({"model.dtype=int8", "model.group_size=48"}),
              HasSubstr("model.group_size: expected 32, 64 or 128, found 48"));
  EXPECT_THAT(train_error({"model.dtype=nf4", "model.group_size=32"}), HasSubstr("blocks of nf4 are of 64, found 32"));
  EXPECT_THAT(train_error({"model.dtype=int4"}), HasSubstr("int8"));
  EXPECT_THAT(train_error({"model.dtype=gguf"}), AllOf(HasSubstr("model.dtype: gguf"), HasSubstr("take a .gguf file")));
  EXPECT_THAT(error_of({"export", "--model", model().string(), "--out", file("x").string(), "--quantised", "nf4",
                        "--group-size", "32"}),
              HasSubstr("blocks of nf4 are of 64"));
}

}  // namespace
}  // namespace gavel
