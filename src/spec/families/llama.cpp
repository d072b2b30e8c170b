#include "spec/families/families.h"

namespace gavel {

namespace {

DecoderSpec describe(const ModelConfig& config) {
  return standard::decoder(config, GgufRows::kRotaryPairs);
}

}  // namespace

Family llama_family() {
  return {"llama", "LlamaForSequenceClassification", "llama", "silu", describe};
}

}  // namespace gavel
