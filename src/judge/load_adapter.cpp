#include "judge/load_adapter.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/command_line.h"
#include "base/log.h"
#include "io/model_path.h"
#include "judge/calibration_key.h"
#include "judge/ensemble.h"
#include "setup/open_model.h"
#include "setup/run_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** Whether the caller has given a setting: `key` with its '='. */
bool is_given(const JudgeOptions& options, std::string_view key) {
  return std::ranges::any_of(options.overrides, [&](std::string_view setting) { return setting.starts_with(key); });
}

/** A folder that came from somewhere may name neither code to run nor rules to read: those are the caller's to give. */
void leave_out_files_of(const JudgeOptions& options, Recipe& recipe) {
  const bool is_file = recipe.device.find('/') != std::string::npos || recipe.device.ends_with(".so");
  if (is_file && !is_given(options, "device=")) {
    spdlog::warn(
        "{}: its recipe's device is a file, {}, which is not opened without your word (device=…); taken is cpu",
        options.adapter.string(), recipe.device);
    recipe.device = "cpu";
  }
  if (recipe.mesh.rules && !is_given(options, "mesh.rules=")) {
    spdlog::warn("{}: its recipe's mesh.rules, {}, are not read without your word (mesh.rules=…)",
                 options.adapter.string(), *recipe.mesh.rules);
    recipe.mesh.rules.reset();
  }
}

/** What PEFT would open: a path, or a name of the hub with the revision. */
std::string base_of(const PeftConfig& adapter) {
  const std::string& base = adapter.base_model();
  if (adapter.revision().empty() || base.find('@') != base.npos || !is_hub_model(base)) return base;
  return base + "@" + adapter.revision();
}

/** The recipe beside the adapter; for an adapter of PEFT's the defaults with what its config says. */
Recipe recipe_of(const JudgeOptions& options, const PeftConfig& adapter) {
  std::vector<std::string> overrides;
  if (options.model) overrides.push_back("model.path=" + *options.model);
  overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
  fs::path path = options.adapter / "recipe.yaml";
  if (fs::exists(path)) {
    Recipe recipe = load_recipe(path, overrides);
    leave_out_files_of(options, recipe);
    return recipe;
  }
  std::string model = options.model ? *options.model : base_of(adapter);
  if (model.empty())
    fail(
        "{}: neither recipe.yaml nor base_model_name_or_path says which base model it belongs to; give "
        "--model",
        options.adapter.string());
  overrides.insert(overrides.begin(), {"model.path=" + model, "data.train=none", "output=none"});
  return parse_recipe("", options.adapter.string(), overrides);
}

/** Refuses the folder of a run that has not come to its end, and names what judges in its place. */
void refuse_unfinished_run(const fs::path& folder) {
  if (fs::exists(folder / "adapter_config.json")) return;
  int64_t newest = -1;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoints", absent)) {
    const std::string name = entry.path().filename().string();
    int64_t step = 0;
    const char *begin = name.data() + std::min(name.size(), std::string_view("step-").size()),
               *end = name.data() + name.size();
    const auto [at, error] = std::from_chars(begin, end, step);
    const bool whole =
        fs::exists(entry.path() / "adapter_config.json") && fs::exists(entry.path() / "adapter_model.safetensors");
    if (name.starts_with("step-") && error == std::errc() && at == end && whole) newest = std::max(newest, step);
  }
  if (newest >= 0)
    fail(
        "{}: its run has not come to its end; judge with its newest checkpoint, --adapter {}, or go on with it: gavel "
        "train {} --resume",
        folder.string(), shell_word((folder / "checkpoints" / fmt::format("step-{}", newest)).string()),
        shell_word((folder / "recipe.yaml").string()));
}

/** Where the base model is that an adapter names: as it is written, else from the adapter's own folder, else in the cache of
 * downloads from the hub. What is not there is not downloaded: the name is a stranger's. */
std::string find_base(const fs::path& adapter, const std::string& named) {
  if (fs::exists(named)) return named;
  if (fs::path(named).is_relative() && fs::exists(adapter / named))
    return (adapter / named).lexically_normal().string();
  try {
    if (fs::exists(resolve_model_path(named))) return named;
  } catch (const Error& error) {  // says how to fetch it
    fail("{}: its base model is {}; or say where it is with --model", adapter.string(), error.what());
  }
  fail("{}: its base model is {}, which is neither there nor in the adapter's folder: say where it is with --model",
       adapter.string(), named);
}

/** An adapter makes up for what its base's rounding did: on a base that is held in another way it judges otherwise. The folder's
 * recipe says how it was trained. */
void warn_of_another_storage(const JudgeOptions& options, const Recipe& recipe, bool has_own_recipe) {
  if (!has_own_recipe || !(is_given(options, "model.dtype=") || is_given(options, "model.group_size="))) return;
  BaseStorage trained;
  const BaseStorage now = recipe.model.storage();
  try {
    trained = load_recipe(options.adapter / "recipe.yaml").model.storage();
  } catch (const Error&) {  // what is wrong in it the caller's settings have put right
    return;
  }
  if (trained == now || (!trained.is_narrow() && !now.is_narrow())) return;
  spdlog::warn(
      "{}: trained on a base held in {}, and judging on one held in {}, as you say: it judges somewhat otherwise",
      options.adapter.string(), trained.describe(), now.describe());
}

}  // namespace

void drop_if_fitted_for_another(CalibrationFile& calibration, const fs::path& folder, const CalibrationKey& now) {
  if (!calibration.fitted_for) {
    spdlog::warn(
        "{}/calibration.json does not say which weights and settings it was fitted for; it is used all the same",
        folder.string());
    return;
  }
  const std::string mismatch = calibration_mismatch(*calibration.fitted_for, now);
  if (mismatch.empty()) return;
  spdlog::warn("{}/calibration.json is not used: it was fitted for {}; fit it anew with gavel eval --calibrate",
               folder.string(), mismatch);
  calibration = {};
}

void fetch_named_model(const JudgeOptions& options) {
  std::optional<std::string> named = options.model;
  for (const std::string& setting : options.overrides)
    if (constexpr std::string_view key = "model.path="; setting.starts_with(key)) named = setting.substr(key.size());
  const bool own_tokenizer = is_given(options, "model.tokenizer=") || fs::exists(options.adapter / "tokenizer.json");
  if (named) fetch_model(*named, {.tokenizer = !own_tokenizer});
}

LoadedAdapter load_adapter(const JudgeOptions& options) {
  if (const auto members = ensemble_members(options.adapter); !members.empty())
    fail(
        "{}: holds {} judges that predict together (ensemble.json), and one is wanted here: give one of them, such as "
        "{}, or make their mean with gavel average",
        options.adapter.string(), members.size(), members.front().string());
  if (fs::exists(options.adapter / "study.json") && !fs::exists(options.adapter / "adapter_config.json"))
    fail("{}: holds several runs and no judge of them all; give one of its folders, or let gavel folds come to its end",
         options.adapter.string());
  refuse_unfinished_run(options.adapter);
  const PeftConfig adapter = PeftConfig::read(options.adapter);
  fetch_named_model(options);
  const bool has_own_recipe = fs::exists(options.adapter / "recipe.yaml");
  Recipe recipe = recipe_of(options, adapter);
  if (!options.model && !is_given(options, "model.path=") && !recipe.model.random_init)
    recipe.model.path = find_base(options.adapter, recipe.model.path);
  // Before the model: a broken file is told at once.
  std::optional<CalibrationFile> calibration;
  if (options.use_temperature) calibration = read_calibration(options.adapter);
  std::optional<ModelFiles> files;
  ModelConfig config = load_config(recipe, files);
  if (!files) fail("{}: model.random_init is set: there is no base model to judge with", options.adapter.string());
  if (!recipe.model.tokenizer && fs::exists(options.adapter / "tokenizer.json"))
    recipe.model.tokenizer = options.adapter.string();
  for (const std::string& note : files->notes()) spdlog::warn("{}: {}", recipe.model.path, note);
  // An adapter without a recipe does not ask for texts as long as the default's.
  if (auto longest = files->spec().longest_text(); longest && *longest < recipe.data.max_length &&
                                                   recipe.data.max_length == Recipe().data.max_length &&
                                                   !has_own_recipe) {
    spdlog::info("data.max_length is {}: the rope of {} is computed no further", *longest, recipe.model.path);
    recipe.data.max_length = *longest;
  }
  // Whoever trained an adapter without a recipe read the base as its file has it.
  if (!has_own_recipe && !is_given(options, "model.dtype=") && files->holds_float32())
    recipe.model.dtype = Recipe::BaseType::kFloat32;
  warn_of_another_storage(options, recipe, has_own_recipe);
  for (const std::string& note : files->notes_on(recipe.model.storage()))
    spdlog::warn("{}: {}", recipe.model.path, note);
  // Before the tokenizer: a vocabulary that was made larger is told of by the adapter's embeddings.
  LoadedAdapterWeights weights = read_adapter(adapter, files->spec(), task_of(recipe)->num_labels(), &*files);
  if (recipe.task == Recipe::TaskKind::kReward)
    recipe.reward.ties = weights.config.learns_tie ? Recipe::RewardTies::kDavidson : Recipe::RewardTies::kNone;
  Tokenizer tokenizer = load_tokenizer(recipe, config);
  if (calibration)
    drop_if_fitted_for_another(*calibration, options.adapter,
                               calibration_key({{options.adapter}}, files->path(), recipe));
  return {std::move(recipe),    has_own_recipe,     std::move(*files),
          std::move(tokenizer), std::move(weights), calibration.value_or(CalibrationFile{})};
}

void require_read_alike(const std::string& what, const fs::path& folder, const Recipe& recipe,
                        const fs::path& first_folder, const Recipe& first) {
  const auto values = recipe_values(recipe), others = recipe_values(first);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto& [key, value] = values[i];
    const std::string& other = others.at(i).second;
    for (std::string_view reading :
         {"task", "judge.form", "reward.ties", "data.template", "data.max_length", "data.truncation",
          "data.proportional_shares", "model.dtype", "model.group_size", "model.num_labels"})
      if (key == reading && value != other)
        fail("{}: {} of {} is {}, of {} it is {}; it needs judges that read their texts in the same way", what, key,
             folder.string(), value, first_folder.string(), other);
  }
}

}  // namespace gavel
