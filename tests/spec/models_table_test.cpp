// The tables of docs/models.md say what the code knows.
#include <gtest/gtest.h>

#include "base/file.h"
#include "spec/family.h"
#include "spec/known_keys.h"

namespace gavel {
namespace {

DecoderSpec published(const Family& family, const std::string& more = "") {
  return decoder_spec(ModelConfig::from_json(
      fmt::format(
          R"({{"model_type":"{}","vocab_size":64,"hidden_size":64,"intermediate_size":64,"num_hidden_layers":12,)"
          R"("num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64{}}})",
          family.model_type, more),
      "config"));
}

/** What differs from a Llama. */
std::string traits(const Family& family) {
  const DecoderSpec spec = published(family);
  const DecoderSpec windows =
      published(family, R"(,"use_sliding_window":true,"sliding_window":8,"max_window_layers":6)");
  const BlockSpec& block = spec.blocks.front();
  std::string out;
  auto trait = [&](bool there, const std::string& name) {
    if (there) out += (out.empty() ? "" : ", ") + name;
  };
  trait(block.attention.q_proj.has_bias(), "biases of q, k and v");
  size_t windowed = 0, still = 0;
  for (const BlockSpec& kind : windows.blocks) windowed += kind.attention.sliding_window ? 1 : 0;
  for (const BlockSpec& kind : spec.blocks) still += inverse_frequencies(spec.ropes[kind.attention.rope], 4)[0] == 0;
  trait(windowed > 0, windowed == windows.blocks.size() ? "window" : "window on some layers");
  trait(still > 0, "layers without positions");
  trait(!block.attention.q_norm.empty(), "norms of heads");
  trait(!block.attention_output_norm.empty(), "norms before and after each part");
  trait(block.attention.logit_softcapping.has_value(), "soft cap");
  trait(block.feed_forward.activation == Activation::kGeluTanh, "GeGLU");
  trait(spec.norm.offset != 0, "norms as distances from 1");
  trait(spec.embedding_scale != 1, "scaled embeddings");
  trait(spec.ropes.size() > 1 && still == 0, "two ropes");
  return out.empty() ? "—" : out;
}

std::string families_table() {
  std::string out =
      "| `model_type` | class that PEFT opens | GGUF architecture | beside what a Llama has |\n|---|---|---|---|\n";
  for (const Family& family : families())
    out += fmt::format("| `{}` | `{}` | {} | {} |\n", family.model_type, family.architecture,
                       family.gguf_architecture.empty() ? "`llama`" : fmt::format("`{}`", family.gguf_architecture),
                       traits(family));
  return out;
}

std::string shapes_table() {
  std::string out =
      "| name | `model_type` | layers | `hidden_size` | parameters without the head |\n|---|---|---|---|---|\n";
  for (const std::string& name : built_in_shapes()) {
    const ModelConfig config = built_in_shape(name);
    double parameters = 0;
    for (const auto& tensor : decoder_spec(config).base_tensors())
      parameters += static_cast<double>(num_elements(tensor.spec.shape));
    out += fmt::format("| `{}` | `{}` | {} | {} | {:.2f} B |\n", name, config.model_type, config.num_hidden_layers,
                       config.hidden_size, parameters / 1e9);
  }
  return out;
}

std::string keys_table(std::span<const KnownKey> keys) {
  std::string out = "| keys | families | what becomes of them |\n|---|---|---|\n";
  for (size_t i = 0; i < keys.size();) {
    const KnownKey& first = keys[i];
    out += "| ";
    for (const size_t begin = i; i < keys.size() && keys[i].use == first.use && keys[i].families == first.families &&
                                 keys[i].note == first.note;
         ++i)
      out += fmt::format("{}`{}`", i > begin ? ", " : "", keys[i].name);
    const char* use = first.use == KeyUse::kHonoured        ? "honoured"
                      : first.use == KeyUse::kWithoutEffect ? "without effect: "
                                                            : "refused ";
    out +=
        fmt::format(" | {} | {}{} |\n", first.families.empty() ? "all" : std::string(first.families), use, first.note);
  }
  return out;
}

TEST(ModelsPage, SaysWhatTheCodeKnows) {
  const std::string page = read_text(std::filesystem::path(GAVEL_SOURCE_DIR) / "docs/models.md");
  for (const std::string& table :
       {families_table(), shapes_table(), keys_table(known_config_keys()), keys_table(known_gguf_keys())})
    EXPECT_NE(page.find(table), std::string::npos) << "docs/models.md should have this table:\n" << table;
}

}  // namespace
}  // namespace gavel
