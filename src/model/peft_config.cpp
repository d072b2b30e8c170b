#include "model/peft_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/log.h"
#include "spec/config_keys.h"

namespace gavel {

namespace fs = std::filesystem;
using Json = ConfigKeys::Json;

namespace {

/** As lora.r has it; what a config claims beyond it would take memory before its tensors are looked at. */
constexpr int64_t kLargestRank = 65536;

}  // namespace

std::span<const KnownKey> known_adapter_keys() {
  using enum KeyUse;
  static constexpr KnownKey kKeys[] = {
      {"alora_invocation_tokens", kRefused, "", "the adapter acts only behind these tokens"},
      {"alpha_pattern", kHonoured},
      {"arrow_config", kRefused, "", "several adapters with routing"},
      {"auto_mapping", kWithoutEffect},
      {"base_model_name_or_path", kHonoured, "", "`--model` comes before it"},
      {"bias", kHonoured, "", "an adapter that holds biases is refused"},
      {"corda_config", kWithoutEffect, "", "see `init_lora_weights`"},
      {"ensure_weight_tying", kWithoutEffect},
      {"eva_config", kWithoutEffect, "", "see `init_lora_weights`"},
      {"exclude_modules", kHonoured, "", "names or a pattern"},
      {"fan_in_fan_out", kWithoutEffect, "", "PEFT sets it to false for linears"},
      {"inference_mode", kWithoutEffect},
      {"init_lora_weights", kHonoured, "",
       "`true`, `false`, `gaussian`, `eva`, `orthogonal`, `mica` leave the base as it is; others change it and are "
       "refused"},
      {"kasa_config", kRefused, "", "changes the base"},
      {"layer_replication", kRefused, "", "other layers than the base has"},
      {"layers_pattern", kHonoured},
      {"layers_to_transform", kHonoured},
      {"loftq_config", kWithoutEffect, "", "see `init_lora_weights`"},
      {"lora_alpha", kHonoured},
      {"lora_bias", kRefused, "", "biases of the adapters' own"},
      {"lora_dropout", kHonoured, "", "in training"},
      {"lora_ga_config", kWithoutEffect, "", "see `init_lora_weights`"},
      {"megatron_config", kWithoutEffect},
      {"megatron_core", kWithoutEffect},
      {"modules_to_save", kHonoured, "", "`score` and `classifier`; other modules of the model are refused"},
      {"monteclora_config", kRefused, "", "random parts of the adapters"},
      {"peft_type", kHonoured, "", "`LORA` alone"},
      {"peft_version", kWithoutEffect},
      {"qalora_group_size", kWithoutEffect, "", "counts with `use_qalora` alone"},
      {"r", kHonoured},
      {"rank_pattern", kHonoured},
      {"revision", kHonoured, "", "of a base at the hub; `--model` comes before it"},
      {"runtime_config", kWithoutEffect},
      {"target_modules", kHonoured, "", "names, ends of names, a pattern, `all-linear`"},
      {"target_parameters", kRefused, "", "parameters that are no linears"},
      {"task_type", kHonoured, "", "an adapter without a head is refused"},
      {"trainable_token_indices", kRefused, "", "other embeddings"},
      {"use_bdlora", kRefused, "", "factors in blocks"},
      {"use_dora", kHonoured},
      {"use_qalora", kRefused, "", "adapters on averaged inputs"},
      {"use_rslora", kHonoured},
      {"velora_config", kWithoutEffect, "", "changes gradients alone"},
  };
  return kKeys;
}

/** Reads one file. */
class PeftConfig::Reader {
 public:
  Reader(const Json& json, const fs::path& path) : json_(json), name_(path.string()), keys_(json, name_) {}

  PeftConfig read() {
    if (std::string type = keys_.text("peft_type", ""); type != "LORA")
      fail("{}: peft_type is '{}', expected LORA", name_, type);
    check_keys();
    check_init();
    PeftConfig c;
    c.path_ = name_;
    c.base_model_ = keys_.text("base_model_name_or_path", "");
    c.revision_ = keys_.text("revision", "");
    if (c.revision_ == "main") c.revision_.clear();
    c.task_type_ = keys_.text("task_type", "");
    c.r_ = keys_.integer("r");
    if (c.r_ < 1 || c.r_ > kLargestRank)
      fail("{}: r is {}, expected a positive rank up to {}", name_, c.r_, kLargestRank);
    c.lora_alpha_ = keys_.number("lora_alpha", 8);
    c.lora_dropout_ = keys_.number("lora_dropout", 0);
    c.use_rslora_ = keys_.boolean("use_rslora", false);
    c.use_dora_ = keys_.boolean("use_dora", false);
    c.targets_ = names("target_modules");
    if (c.targets_.names.empty() && !c.targets_.pattern)
      fail("{}: target_modules is missing or empty, so the adapter adapts nothing", name_);
    c.excluded_ = names("exclude_modules");
    c.modules_to_save_ = texts("modules_to_save");
    if (keys_.has("layers_to_transform")) c.layers_to_transform_ = layers();
    for (const std::string& pattern : texts("layers_pattern"))
      c.layers_patterns_.push_back(regex("layers_pattern", "\\A(?:.*?\\.)?" + pattern + R"(\.(\d+)\.)"));
    // The first number of a name, as PEFT finds it.
    if (c.layers_patterns_.empty()) c.layers_patterns_.push_back(regex("layers_pattern", R"(\A.*?\.[^.]*\.\d+\.)"));
    c.ranks_ = patterns("rank_pattern");
    c.alphas_ = patterns("alpha_pattern");
    for (const Pattern& rank : c.ranks_)
      if (!(rank.value >= 1 && rank.value <= kLargestRank) || rank.value != std::floor(rank.value))
        fail("{}: rank_pattern has the rank {}, expected a positive whole number up to {}", name_, rank.value,
             kLargestRank);
    return c;
  }

 private:
  static bool says_nothing(const Json& value) {
    return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty()) ||
           (value.is_string() && value.get_ref<const std::string&>().empty());
  }

  void check_keys() const {
    const std::span<const KnownKey> known = known_adapter_keys();
    for (const auto& [key, value] : json_.items()) {
      auto found = std::find_if(known.begin(), known.end(), [&](const KnownKey& k) { return k.name == key; });
      if (says_nothing(value)) continue;
      if (found == known.end())
        spdlog::warn("{}: '{}' is no key that Gavel knows of; its value, {}, has no effect here", name_, key,
                     brief(value));
      else if (found->use == KeyUse::kRefused)
        fail(
            "{}: '{}' is {} ({}): such adapters are not computed here; merge it into its base with PEFT and train on "
            "that",
            name_, key, brief(value), found->note);
    }
  }

  /** Some ways to begin subtract from the base's weights what the adapter starts with; PEFT does so again when it opens
   * one, by a decomposition of the weights or what it once found in data. */
  void check_init() const {
    const Json init = json_.value("init_lora_weights", Json(true));
    if (init.is_boolean() || init.is_null()) return;
    std::string way = init.is_string() ? init.get<std::string>() : brief(init);
    std::transform(way.begin(), way.end(), way.begin(), [](unsigned char c) { return std::tolower(c); });
    static constexpr std::string_view kLeaveTheBase[] = {"gaussian", "eva", "orthogonal", "mica"};
    if (std::find(std::begin(kLeaveTheBase), std::end(kLeaveTheBase), way) != std::end(kLeaveTheBase)) return;
    fail(
        "{}: init_lora_weights is {}: such an adapter belongs to a changed base, which is not made here; convert it "
        "with "
        "PEFT's save_pretrained(…, path_initial_model_for_weight_conversion=…), or merge it into its base",
        name_, brief(init));
  }

  Regex regex(const char* key, const std::string& pattern) const {
    return {pattern, fmt::format("{}: {}", name_, key), RegexSyntax::kPython};
  }

  /** A list of texts, or one text alone; none when the key is not there. */
  std::vector<std::string> texts(const char* key) const {
    if (!keys_.has(key)) return {};
    if (json_[key].is_string()) return {json_[key].get<std::string>()};
    return keys_.texts(key);
  }

  Names names(const char* key) const {
    Names out;
    if (!keys_.has(key)) return out;
    if (!json_[key].is_string()) {
      out.names = keys_.texts(key);
      return out;
    }
    auto text = json_[key].get<std::string>();
    // The head is a linear too, and PEFT leaves it out.
    if (text == "all-linear") text = R"(.*\.layers\.\d+\..*_proj)";
    if (!text.empty()) out.pattern = regex(key, "\\A(?:" + text + ")\\z");
    return out;
  }

  std::vector<int64_t> layers() const {
    if (json_["layers_to_transform"].is_number_integer()) return {keys_.integer("layers_to_transform")};
    return keys_.integers("layers_to_transform");
  }

  /** The first that matches a module's name or its end is the one that counts. */
  std::vector<Pattern> patterns(const char* key) const {
    std::vector<Pattern> out;
    if (!keys_.has(key)) return out;
    if (!json_[key].is_object()) fail("{}: '{}' must be an object, found {}", name_, key, brief(json_[key]));
    for (const auto& [pattern, value] : json_[key].items()) {
      if (!value.is_number()) fail("{}: '{}' must have a number for '{}', found {}", name_, key, pattern, brief(value));
      out.push_back({regex(key, "\\A(?:.*\\.)?(?:" + pattern + ")\\z"), value.get<double>()});
    }
    return out;
  }

  const Json& json_;
  std::string name_;
  ConfigKeys keys_;
};

namespace {

/** The end of the first match, if there is one. */
std::optional<size_t> match_end(const Regex& regex, const std::string& text) {
  RegexScratch scratch;
  std::vector<std::pair<size_t, size_t>> found;
  regex.find_all(text, scratch, found);
  return found.empty() ? std::nullopt : std::optional(found.front().second);
}

bool is_or_ends(const std::string& module, const std::string& name) {
  return module == name || module.ends_with("." + name);
}

}  // namespace

PeftConfig PeftConfig::read(const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  Json json;
  try {
    json = Json::parse(read_json_text(path));
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", path.string(), error.what());
  }
  if (!json.is_object()) fail("{}: expected a JSON object", path.string());
  return Reader(json, path).read();
}

bool PeftConfig::Names::match(const std::string& module) const {
  if (pattern) return match_end(*pattern, module).has_value();
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return is_or_ends(module, name); });
}

std::optional<int64_t> PeftConfig::layer_of(const std::string& module) const {
  for (const Regex& pattern : layers_patterns_)
    if (auto end = match_end(pattern, module)) {
      // "layers.12.": an alternative (`|`) of the pattern's own may have matched without the number that follows.
      const std::string_view matched = std::string_view(module).substr(0, *end);
      const size_t number =
          matched.find_last_not_of("0123456789", matched.size() - std::min<size_t>(2, matched.size())) + 1;
      int64_t layer = 0;
      const auto [rest, error] = std::from_chars(matched.data() + number, matched.data() + matched.size(), layer);
      if (error != std::errc() || std::string_view(rest, matched.data() + matched.size()) != ".")
        fail("{}: layers_pattern: expected a layer's number behind what it matches of {}, found none; searched: {}",
             path_.string(), module, pattern.pattern());
      return layer;
    }
  return std::nullopt;
}

bool PeftConfig::saves(const std::string& module) const {
  // PEFT looks for the name among the parts of the module's.
  const std::string dotted = "." + module + ".";
  return std::any_of(modules_to_save_.begin(), modules_to_save_.end(),
                     [&](const std::string& name) { return dotted.find("." + name + ".") != std::string::npos; });
}

std::optional<PeftConfig::Branch> PeftConfig::branch(const std::string& module) const {
  if (saves(module) || !targets(module)) return std::nullopt;
  // As in PEFT, a pattern or a whole name is not narrowed down to some layers.
  const bool whole_name =
      targets_.pattern || std::find(targets_.names.begin(), targets_.names.end(), module) != targets_.names.end();
  if (layers_to_transform_ && !layers_to_transform_->empty() && !whole_name) {
    auto layer = layer_of(module);
    const auto& all = *layers_to_transform_;
    if (!layer || std::find(all.begin(), all.end(), *layer) == all.end()) return std::nullopt;
  }
  auto first = [&](const std::vector<Pattern>& patterns, double otherwise) {
    for (const Pattern& pattern : patterns)
      if (match_end(pattern.regex, module)) return pattern.value;
    return otherwise;
  };
  Branch out;
  out.r = static_cast<int64_t>(first(ranks_, static_cast<double>(r_)));
  out.lora_alpha = first(alphas_, lora_alpha_);
  const auto rank = static_cast<double>(out.r);
  out.scaling = out.lora_alpha / (use_rslora_ ? std::sqrt(rank) : rank);
  return out;
}

}  // namespace gavel
