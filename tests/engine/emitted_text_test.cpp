// The programs' texts, each known by its SHA-256: a change of structure must leave every byte as it was.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <map>

#include "base/file.h"
#include "engine/programs.h"
#include "nn/cpu_kernels.h"
#include "setup/test_support.h"
#include "spec/family.h"
#include "spec/mesh_llama.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

std::string sha256(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string hex;
  for (unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

/** With `everything`, all settings that change the text. */
StepOptions llama_step(bool everything) {
  StepOptions step;
  ModelConfig c = mesh_llama(3);
  if (!everything) {
    // One kernel does the feed-forward block.
    step.model.lora = {4, 8, 0.1, {"o_proj", "v_proj"}, false};
    step.model.spec = decoder_spec(c);
    return step;
  }
  c.attention_bias = c.mlp_bias = true;
  c.rope.scaling = {"llama3", 8, 1, 4, 64};
  step.model.lora = {4, 8, 0.1, all_linear_names(), true};
  step.model.spec = decoder_spec(c);
  step.model.dtype = step.model.compute_dtype = DType::kBF16;
  step.label_smoothing = 0.1;
  step.max_grad_norm = 1;
  step.max_loss = 50;
  step.skip_nonfinite = true;
  return step;
}

/** All texts by name. */
std::map<std::string, std::string> emitted_texts() {
  std::map<std::string, std::string> texts;
  auto add_batch = [&](const std::string& name, const StepOptions& step, const BatchShape& shape) {
    texts[name + " train_step"] = train_step_program(step, shape).text;
    texts[name + " accumulate"] = accumulate_program(step, shape).text;
    texts[name + " evaluate"] = evaluate_program(step, shape).text;
    texts[name + " gradients"] = gradients_program(step, shape).text;
  };
  for (bool everything : {false, true})
    for (LayerForm form : {LayerForm::kScan, LayerForm::kUnrolled})
      for (Kernels kernels : {Kernels(), Kernels(cpu_kernels())})
        for (Mesh mesh : {Mesh{1, 1, 1}, Mesh{1, 8, 1}, Mesh{2, 2, 2}}) {
          StepOptions step = llama_step(everything);
          step.model.form = form;
          step.model.kernels = kernels;
          step.model.placement = Placement(mesh, {}, step.model.spec);
          std::string name =
              fmt::format("{} {} {} {}", everything ? "all-linear" : "o-v",
                          form == LayerForm::kScan ? "scan" : "unrolled", kernels.name(), to_string(mesh));
          add_batch(name + " padded", step, {8, 16, 8});
          add_batch(name + " packed", step, mesh.devices() == 1 ? BatchShape{1, 64, 5} : BatchShape{8, 16, 12});
          texts[name + " apply"] = apply_program(step).text;
          texts[name + " gather"] = gather_program(step).text;
          texts[name + " zeros"] = zeros_program(step).text;
        }
  // Longer than plain attention holds scores of at once.
  for (LayerForm form : {LayerForm::kScan, LayerForm::kUnrolled}) {
    StepOptions step = llama_step(false);
    step.model.form = form;
    add_batch(form == LayerForm::kScan ? "o-v scan plain long" : "o-v unrolled plain long", step, {1, 1200, 1});
  }
  return texts;
}

/** After a change of the texts that is meant, GAVEL_RECORD_TEXTS=1 writes the file anew: in a commit of its own, which
 * says why. */
TEST(EmittedTexts, AreThoseOnRecord) {
  const fs::path record = fs::path(GAVEL_SOURCE_DIR) / "tests/engine/emitted_texts.sha256";
  std::string found;
  for (const auto& [name, text] : emitted_texts()) found += sha256(text) + "  " + name + "\n";
  if (const char* rewrite = std::getenv("GAVEL_RECORD_TEXTS"); rewrite != nullptr && *rewrite == '1')
    write_file(record, found);
  const std::string recorded = read_text(record);
  if (found == recorded) return;
  const fs::path kept = fs::path(GAVEL_BINARY_DIR) / "emitted_texts";
  fs::create_directories(kept);
  std::string differing;
  for (const auto& [name, text] : emitted_texts())
    if (recorded.find(sha256(text) + "  " + name + "\n") == std::string::npos) {
      differing += "  " + name + "\n";
      write_file(kept / (name + ".mlir"), text);
    }
  FAIL() << "texts that are not as in " << record << " (they are in " << kept << "):\n" << differing;
}

TEST(EmittedTexts, OfOneProgramAreTheSameEachTime) {
  const StepOptions step = llama_step(true);
  EXPECT_EQ(train_step_program(step, {2, 16, 2}).text, train_step_program(step, {2, 16, 2}).text);
}

}  // namespace
}  // namespace gavel
