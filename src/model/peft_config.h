#pragma once
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pieces/regex.h"
#include "spec/known_keys.h"

namespace gavel {

/** All keys that PEFT 0.21 writes to an adapter_config.json of a LoRA adapter, by name, and what becomes of each when an
 * adapter is opened. What is refused may be there as null, false or empty. */
std::span<const KnownKey> known_adapter_keys();

/** An adapter_config.json, as PEFT's LoraConfig reads it. */
class PeftConfig {
 public:
  /** Throws Error naming the file and the key when the adapter is no LoRA adapter, or computes what Gavel does not. A key
   * that is not of peft_keys() and says something is warned of. */
  static PeftConfig read(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }
  /** base_model_name_or_path; may be empty. */
  const std::string& base_model() const { return base_model_; }
  /** Of a base model at the hub; "" where it is the usual one. */
  const std::string& revision() const { return revision_; }
  const std::string& task_type() const { return task_type_; }
  int64_t r() const { return r_; }
  double lora_alpha() const { return lora_alpha_; }
  double lora_dropout() const { return lora_dropout_; }
  bool use_rslora() const { return use_rslora_; }
  bool use_dora() const { return use_dora_; }

  /** What PEFT puts on one module. */
  struct Branch {
    int64_t r = 0;
    double lora_alpha = 0;
    double scaling = 0;
    bool operator==(const Branch&) const = default;
  };
  /** Of a module by its full name, such as "model.layers.0.self_attn.q_proj": by target_modules, exclude_modules,
   * layers_to_transform, rank_pattern and alpha_pattern, as PEFT matches them. None where there is no adapter. */
  std::optional<Branch> branch(const std::string& module) const;
  /** Whether target_modules has the module and exclude_modules has not. */
  bool targets(const std::string& module) const { return targets_.match(module) && !excluded_.match(module); }
  /** Whether modules_to_save names the module or one that holds it: the adapter then has a whole module in its place. */
  bool saves(const std::string& module) const;

 private:
  struct Pattern {
    Regex regex;
    double value;
  };
  /** A list of names, each the module's whole name or its end; or a pattern of the whole name. */
  struct Names {
    std::vector<std::string> names;
    std::optional<Regex> pattern;
    bool match(const std::string& module) const;
  };
  class Reader;
  std::optional<int64_t> layer_of(const std::string& module) const;

  std::filesystem::path path_;
  std::string base_model_, revision_, task_type_;
  int64_t r_ = 0;
  double lora_alpha_ = 0, lora_dropout_ = 0;
  bool use_rslora_ = false, use_dora_ = false;
  Names targets_, excluded_;
  std::vector<std::string> modules_to_save_;
  std::optional<std::vector<int64_t>> layers_to_transform_;
  std::vector<Regex> layers_patterns_;
  std::vector<Pattern> ranks_, alphas_;
};

}  // namespace gavel
