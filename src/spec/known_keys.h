#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_keys.h"

namespace gavel {

enum class KeyUse : uint8_t { kHonoured, kWithoutEffect, kRefused };

/** What becomes of a key of a config.json, or of a GGUF file's metadata behind "ARCHITECTURE.". The lists stand here once;
 * docs/models.md shows them. */
struct KnownKey {
  std::string_view name;
  KeyUse use;
  /** Families that have it, by model_type with spaces between; empty = all. */
  std::string_view families = "";
  /** Of a key that is refused: "unless …"; of one without effect: why. */
  std::string_view note = "";
  /** Of a key that is refused: whether it may stay with this value; none = another place checks it, which knows more. */
  bool (*harmless)(const ConfigKeys::Json& value) = nullptr;
};

/** Keys of config.json that transformers' classes of the families know, and some that real files have beside them. */
std::span<const KnownKey> known_config_keys();
/** Keys of GGUF files of the families' architectures that llama.cpp or the Python package gguf know. */
std::span<const KnownKey> known_gguf_keys();

/** Throws Error naming `file` and the key for weights that are not plain numbers: configs of bitsandbytes, GPTQ, AWQ, FP8
 * and others. */
void refuse_quantised(const ConfigKeys& keys);

/** Throws Error naming `file` and the key when one of `object` changes what the model computes and is not honoured. Gives
 * the names of keys that neither Gavel nor the family's class knows; those that are null or false say nothing and are left
 * out. `prefix` stands before the list's names in `object`; other keys are not looked at. */
std::vector<std::string> check_known_keys(std::span<const KnownKey> known, const ConfigKeys::Json& object,
                                          std::string_view prefix, std::string_view model_type,
                                          const std::string& file);

}  // namespace gavel
