#include "spec/families/families.h"

namespace gavel {

namespace {

DecoderSpec describe_llama(const ModelConfig& config) {
  return standard::decoder(config, GgufRows::kRotaryPairs);
}

}  // namespace

Family llama_family() {
  return {"llama", "LlamaForSequenceClassification", "llama", "silu", describe_llama};
}

}  // namespace gavel
