#include "spec/known_keys.h"

#include <algorithm>

#include "base/error.h"

namespace gavel {

namespace {

using Json = ConfigKeys::Json;
using enum KeyUse;

constexpr std::string_view kSilu = "llama mistral qwen2 qwen3 smollm3", kGemma = "gemma2 gemma3_text",
                           kQwen = "qwen2 qwen3", kByLayer = "qwen2 qwen3 gemma2 gemma3_text smollm3";

bool is_true(const Json& value) {
  return value == true;
}
bool is_false(const Json& value) {
  return value == false;
}
bool is_0(const Json& value) {
  return value == 0;
}
bool is_1(const Json& value) {
  return value == 1;
}
bool is_0_or_1(const Json& value) {
  return is_0(value) || is_1(value);
}
bool is_empty(const Json& value) {
  return value.is_structured() && value.empty();
}

// What a row of the docs' table says stands beside each other, with the same note.
constexpr KnownKey kConfigKeys[] = {
    {"model_type", kHonoured},
    {"vocab_size", kHonoured},
    {"hidden_size", kHonoured},
    {"intermediate_size", kHonoured},
    {"num_hidden_layers", kHonoured},
    {"num_attention_heads", kHonoured},
    {"num_key_value_heads", kHonoured},
    {"head_dim", kHonoured},
    {"rms_norm_eps", kHonoured},
    {"max_position_embeddings", kHonoured},
    {"original_max_position_embeddings", kHonoured},
    {"rope_theta", kHonoured},
    {"rope_scaling", kHonoured},
    {"rope_parameters", kHonoured},
    {"initializer_range", kHonoured},
    {"tie_word_embeddings", kHonoured},
    {"bos_token_id", kHonoured},
    {"eos_token_id", kHonoured},
    {"pad_token_id", kHonoured},
    {"hidden_act", kHonoured, kSilu},
    {"hidden_activation", kHonoured, kGemma},
    {"query_pre_attn_scalar", kHonoured, kGemma},
    {"attn_logit_softcapping", kHonoured, "gemma2"},
    {"attention_bias", kHonoured, "llama qwen3 gemma2 gemma3_text smollm3"},
    {"mlp_bias", kHonoured, "llama smollm3"},
    {"sliding_window", kHonoured, "mistral qwen2 qwen3 gemma2 gemma3_text smollm3"},
    {"layer_types", kHonoured, kByLayer},
    {"use_sliding_window", kHonoured, "qwen2 qwen3 smollm3"},
    {"max_window_layers", kHonoured, kQwen},
    {"sliding_window_pattern", kHonoured, "gemma3_text"},
    {"rope_local_base_freq", kHonoured, "gemma3_text"},
    {"no_rope_layers", kHonoured, "smollm3"},
    {"no_rope_layer_interval", kHonoured, "smollm3"},

    {"quantization_config", kRefused, "", "unless empty: Gavel reads plain numbers and GGUF's types", is_empty},
    {"compression_config", kRefused, "", "unless empty: Gavel reads plain numbers and GGUF's types", is_empty},
    {"quantization", kRefused, "", "unless empty: Gavel reads plain numbers and GGUF's types", is_empty},
    {"is_causal", kRefused, "", "unless true", is_true},
    {"use_bidirectional_attention", kRefused, kGemma, "unless false", is_false},
    {"partial_rotary_factor", kRefused, "", "unless 1", is_1},
    {"per_layer_config", kRefused, "", "unless empty", is_empty},
    {"num_experts", kRefused, "", "unless 0", is_0},
    {"num_local_experts", kRefused, "", "unless 0", is_0},
    {"n_routed_experts", kRefused, "", "unless 0", is_0},
    {"transformers_weights", kRefused, "", "unless `model.safetensors`",
     [](const Json& value) { return value == "model.safetensors"; }},

    {"attention_dropout", kWithoutEffect, "", "transformers drops with it in training, Gavel does not"},
    {"pretraining_tp", kWithoutEffect, "llama", "transformers 5 does not read it"},
    {"attention_bias", kWithoutEffect, "qwen2", "q, k and v have biases whatever it says"},
    {"final_logit_softcapping", kWithoutEffect, kGemma, "of the language model's head"},
    {"attn_logit_softcapping", kWithoutEffect, "gemma3_text", "transformers' class holds it and does not compute it"},
    {"hidden_act", kWithoutEffect, kGemma, "`hidden_activation` counts"},
    {"_sliding_window_pattern", kWithoutEffect, "gemma3_text", "`layer_types` or `sliding_window_pattern` count"},

    {"id2label", kWithoutEffect, "", "the adapter has the head"},
    {"label2id", kWithoutEffect, "", "the adapter has the head"},
    {"num_labels", kWithoutEffect, "", "the adapter has the head"},
    {"problem_type", kWithoutEffect, "", "the adapter has the head"},
    {"classifier_dropout", kWithoutEffect, "", "the adapter has the head"},
    {"finetuning_task", kWithoutEffect, "", "the adapter has the head"},
    {"task_specific_params", kWithoutEffect, "", "the adapter has the head"},

    {"architectures", kWithoutEffect, "", "says where the file is from"},
    {"transformers_version", kWithoutEffect, "", "says where the file is from"},
    {"_name_or_path", kWithoutEffect, "", "says where the file is from"},
    {"name_or_path", kWithoutEffect, "", "says where the file is from"},
    {"_commit_hash", kWithoutEffect, "", "says where the file is from"},
    {"tokenizer_class", kWithoutEffect, "", "says where the file is from"},
    {"is_llama_config", kWithoutEffect, "", "says where the file is from"},
    {"transformers.js_config", kWithoutEffect, "", "says where the file is from"},
    {"unsloth_version", kWithoutEffect, "", "says where the file is from"},
    {"unsloth_fixed", kWithoutEffect, "", "says where the file is from"},

    {"dtype", kWithoutEffect, "", "`model.dtype` and `model.compute_dtype` count"},
    {"torch_dtype", kWithoutEffect, "", "`model.dtype` and `model.compute_dtype` count"},
    {"use_bfloat16", kWithoutEffect, "", "`model.dtype` and `model.compute_dtype` count"},

    {"attn_implementation", kWithoutEffect, "", "how transformers runs it"},
    {"_attn_implementation", kWithoutEffect, "", "how transformers runs it"},
    {"_attn_implementation_autoset", kWithoutEffect, "", "how transformers runs it"},
    {"_attn_implementation_internal", kWithoutEffect, "", "how transformers runs it"},
    {"_flash_attn_2_enabled", kWithoutEffect, "", "how transformers runs it"},
    {"experts_implementation", kWithoutEffect, "", "how transformers runs it"},
    {"_experts_implementation", kWithoutEffect, "", "how transformers runs it"},
    {"_experts_implementation_internal", kWithoutEffect, "", "how transformers runs it"},
    {"use_cache", kWithoutEffect, "", "how transformers runs it"},
    {"cache_implementation", kWithoutEffect, "", "how transformers runs it"},
    {"gradient_checkpointing", kWithoutEffect, "", "how transformers runs it"},
    {"chunk_size_feed_forward", kWithoutEffect, "", "how transformers runs it"},
    {"fusion_config", kWithoutEffect, "", "how transformers runs it"},
    {"torchscript", kWithoutEffect, "", "how transformers runs it"},
    {"tf_legacy_loss", kWithoutEffect, "", "how transformers runs it"},
    {"output_attentions", kWithoutEffect, "", "how transformers runs it"},
    {"output_hidden_states", kWithoutEffect, "", "how transformers runs it"},
    {"tie_last_hidden_states", kWithoutEffect, "", "how transformers runs it"},
    {"return_dict", kWithoutEffect, "", "how transformers runs it"},
    {"use_return_dict", kWithoutEffect, "", "how transformers runs it"},

    {"is_decoder", kWithoutEffect, "", "these classes do not read it"},
    {"is_encoder_decoder", kWithoutEffect, "", "these classes do not read it"},
    {"add_cross_attention", kWithoutEffect, "", "these classes do not read it"},
    {"cross_attention_hidden_size", kWithoutEffect, "", "these classes do not read it"},
    {"tie_encoder_decoder", kWithoutEffect, "", "these classes do not read it"},
    {"pruned_heads", kWithoutEffect, "", "these classes do not read it"},
    {"prefix", kWithoutEffect, "", "these classes do not read it"},
    {"sep_token_id", kWithoutEffect, "", "these classes do not read it"},
    {"decoder_start_token_id", kWithoutEffect, "", "these classes do not read it"},

    {"max_length", kWithoutEffect, "", "of generating text"},
    {"min_length", kWithoutEffect, "", "of generating text"},
    {"max_new_tokens", kWithoutEffect, "", "of generating text"},
    {"do_sample", kWithoutEffect, "", "of generating text"},
    {"early_stopping", kWithoutEffect, "", "of generating text"},
    {"num_beams", kWithoutEffect, "", "of generating text"},
    {"num_beam_groups", kWithoutEffect, "", "of generating text"},
    {"diversity_penalty", kWithoutEffect, "", "of generating text"},
    {"temperature", kWithoutEffect, "", "of generating text"},
    {"top_k", kWithoutEffect, "", "of generating text"},
    {"top_p", kWithoutEffect, "", "of generating text"},
    {"min_p", kWithoutEffect, "", "of generating text"},
    {"typical_p", kWithoutEffect, "", "of generating text"},
    {"epsilon_cutoff", kWithoutEffect, "", "of generating text"},
    {"eta_cutoff", kWithoutEffect, "", "of generating text"},
    {"repetition_penalty", kWithoutEffect, "", "of generating text"},
    {"encoder_repetition_penalty", kWithoutEffect, "", "of generating text"},
    {"length_penalty", kWithoutEffect, "", "of generating text"},
    {"exponential_decay_length_penalty", kWithoutEffect, "", "of generating text"},
    {"no_repeat_ngram_size", kWithoutEffect, "", "of generating text"},
    {"encoder_no_repeat_ngram_size", kWithoutEffect, "", "of generating text"},
    {"bad_words_ids", kWithoutEffect, "", "of generating text"},
    {"suppress_tokens", kWithoutEffect, "", "of generating text"},
    {"begin_suppress_tokens", kWithoutEffect, "", "of generating text"},
    {"forced_bos_token_id", kWithoutEffect, "", "of generating text"},
    {"forced_eos_token_id", kWithoutEffect, "", "of generating text"},
    {"remove_invalid_values", kWithoutEffect, "", "of generating text"},
    {"num_return_sequences", kWithoutEffect, "", "of generating text"},
    {"output_scores", kWithoutEffect, "", "of generating text"},
    {"return_dict_in_generate", kWithoutEffect, "", "of generating text"},
    {"num_assistant_tokens", kWithoutEffect, "", "of generating text"},
    {"num_assistant_tokens_schedule", kWithoutEffect, "", "of generating text"},
    {"assistant_confidence_threshold", kWithoutEffect, "", "of generating text"},
    {"assistant_lookbehind", kWithoutEffect, "", "of generating text"},
    {"target_lookbehind", kWithoutEffect, "", "of generating text"},
};

constexpr KnownKey kGgufKeys[] = {
    {"embedding_length", kHonoured},
    {"feed_forward_length", kHonoured},
    {"block_count", kHonoured},
    {"context_length", kHonoured},
    {"attention.head_count", kHonoured},
    {"attention.head_count_kv", kHonoured},
    {"attention.key_length", kHonoured},
    {"attention.layer_norm_rms_epsilon", kHonoured},
    {"rope.freq_base", kHonoured},
    {"rope.scaling.type", kHonoured},
    {"rope.scaling.factor", kHonoured},
    {"rope.scale_linear", kHonoured},
    {"rope.scaling.original_context_length", kHonoured},
    {"rope.scaling.yarn_beta_fast", kHonoured},
    {"rope.scaling.yarn_beta_slow", kHonoured},
    {"attention.sliding_window", kHonoured, kGemma},
    {"attention.sliding_window_pattern", kHonoured, "gemma3_text"},
    {"rope.freq_base_swa", kHonoured, "gemma3_text"},
    {"attn_logit_softcapping", kHonoured, "gemma2"},

    {"attention.value_length", kRefused, "", "unless as long as keys"},
    {"rope.dimension_count", kRefused, "", "unless as long as keys"},
    {"attention.key_length_swa", kRefused, "", "unless as long as keys"},
    {"attention.value_length_swa", kRefused, "", "unless as long as keys"},
    {"rope.dimension_count_swa", kRefused, "", "unless as long as keys"},
    {"attention.sliding_window", kRefused, kSilu, "unless 0"},
    {"attn_logit_softcapping", kRefused, "llama mistral qwen2 qwen3 gemma3_text smollm3", "unless 0", is_0},
    {"attention.sliding_window_pattern", kRefused, "gemma2", "unless 2", [](const Json& value) { return value == 2; }},
    {"attention.causal", kRefused, "", "unless true", is_true},
    {"use_parallel_residual", kRefused, "", "unless false", is_false},
    {"attention.scale", kRefused, "", "unless 0", is_0},
    {"attention.clamp_kqv", kRefused, "", "unless 0", is_0},
    {"attention.max_alibi_bias", kRefused, "", "unless 0", is_0},
    {"attention.temperature_length", kRefused, "", "unless 0", is_0},
    {"attention.temperature_scale", kRefused, "", "unless 0", is_0},
    {"attention.shared_kv_layers", kRefused, "", "unless 0", is_0},
    {"expert_count", kRefused, "", "unless 0", is_0},
    {"nextn_predict_layers", kRefused, "", "unless 0", is_0},
    {"rope.scaling.yarn_log_multiplier", kRefused, "", "unless 0", is_0},
    {"rope.dimension_sections", kRefused, "", "unless all are 0",
     [](const Json& value) {
       return value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& size) { return size == 0; });
     }},
    {"rope.scaling.attn_factor", kRefused, "", "unless 1", is_1},
    {"rope.scaling.yarn_attn_factor", kRefused, "", "unless 1", is_1},
    {"rope.scaling.yarn_ext_factor", kRefused, "", "unless 1 of yarn, 0 of others, or below 0"},
    {"rope.scaling.alpha", kRefused, "", "unless 0 or 1", is_0_or_1},
    {"residual_scale", kRefused, "", "unless 0 or 1", is_0_or_1},
    {"embedding_scale", kRefused, "", "unless 0 or 1", is_0_or_1},
    {"attention.output_scale", kRefused, "", "unless 0 or 1", is_0_or_1},

    {"logit_scale", kWithoutEffect, "", "of the language model's head"},
    {"final_logit_softcapping", kWithoutEffect, "", "of the language model's head"},
    {"pooling_type", kWithoutEffect, "", "the adapter has the head"},
    {"classifier.output_labels", kWithoutEffect, "", "the adapter has the head"},
    {"vocab_size", kWithoutEffect, "", "`token_embd.weight` says it"},
    {"attention.layer_norm_epsilon", kWithoutEffect, "", "of norms with a mean"},
    {"expert_used_count", kWithoutEffect, "", "where there are no experts"},
    {"rope.scaling.finetuned", kWithoutEffect, "", "says where the file is from"},
    {"tensor_data_layout", kWithoutEffect, "", "says where the file is from"},
};

bool is_of(const KnownKey& key, std::string_view model_type) {
  if (key.families.empty()) return true;
  for (std::string_view left = key.families; !left.empty();) {
    const size_t end = std::min(left.find(' '), left.size());
    if (left.substr(0, end) == model_type) return true;
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  return false;
}

}  // namespace

std::span<const KnownKey> known_config_keys() {
  return kConfigKeys;
}

std::span<const KnownKey> known_gguf_keys() {
  return kGgufKeys;
}

void refuse_quantised(const ConfigKeys& keys) {
  for (const char* key : {"quantization_config", "compression_config", "quantization"}) {
    if (!keys.has(key) || is_empty(keys.json()[key])) continue;
    const Json& value = keys.json()[key];
    std::string what = brief(value);
    if (value.is_object()) {
      what = std::string(key) == "quantization" ? "MLX" : "an unnamed method";
      for (const char* name : {"quant_method", "quant_type", "format"})
        if (value.contains(name) && value[name].is_string()) {
          what = value[name].get<std::string>().substr(0, 60);
          break;
        }
      for (const char* bits : {"bits", "w_bit", "weight_bits"})
        if (value.contains(bits) && value[bits].is_number_integer())
          what += fmt::format(", {} bits", brief(value[bits]));
      if (value.contains("load_in_4bit") && value["load_in_4bit"] == true) what += ", 4 bits";
      if (value.contains("load_in_8bit") && value["load_in_8bit"] == true) what += ", 8 bits";
    }
    fail(
        "{}: '{}' says that the weights are quantised ({}), which Gavel does not read: take the model that it was made "
        "from, in bfloat16, float16 or float32, or a .gguf file of it",
        keys.name(), key, what);
  }
}

std::vector<std::string> check_known_keys(std::span<const KnownKey> known, const Json& object, std::string_view prefix,
                                          std::string_view model_type, const std::string& file) {
  std::vector<std::string> unknown;
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || !name.starts_with(prefix)) continue;
    const std::string_view rest = std::string_view(name).substr(prefix.size());
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const KnownKey& key) { return key.name == rest && is_of(key, model_type); });
    if (found == known.end()) {
      if (value != false) unknown.push_back(name);
    } else if (found->use == kRefused && found->harmless != nullptr && !found->harmless(value)) {
      fail("{}: '{}' is {}, which Gavel does not compute; it is refused {}", file, name, brief(value), found->note);
    }
  }
  return unknown;
}

}  // namespace gavel
