#include "train/judge.h"

#include "base/file.h"
#include "model/adapter.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The recipe beside the adapter; for an adapter of PEFT's the defaults with what its config says. */
Recipe recipe_of(const JudgeOptions& options, const AdapterConfig& adapter) {
  std::vector<std::string> overrides;
  if (options.model) overrides.push_back("model.path=" + *options.model);
  overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
  fs::path path = options.adapter / "recipe.yaml";
  if (fs::exists(path)) return load_recipe(path, overrides);
  std::string model = options.model.value_or(adapter.base_model);
  if (model.empty())
    fail("{}: neither recipe.yaml nor base_model_name_or_path says which base model it belongs to; give --model",
         options.adapter.string());
  overrides.insert(overrides.begin(), {"model.path=" + model, "data.train=none", "output=none"});
  return parse_recipe("", options.adapter.string(), overrides);
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

Judge::Judge(const JudgeOptions& options) {
  AdapterConfig adapter = read_adapter_config(options.adapter);
  recipe_ = recipe_of(options, adapter);
  LlamaConfig config = load_config(recipe_, files_);
  if (!files_) fail("{}: model.random_init is set: there is no base model to judge with", options.adapter.string());
  if (!recipe_.model.tokenizer && fs::exists(options.adapter / "tokenizer.json"))
    recipe_.model.tokenizer = options.adapter.string();
  tokenizer_ = load_tokenizer(recipe_, config);
  std::vector<HostTensor> values = read_adapter_weights(options.adapter, config, adapter, recipe_.model.num_labels);
  std::shared_ptr<pjrt::Client> client = open_device(recipe_);
  StepOptions step = step_options(recipe_, config, *client);
  step.model.lora = adapter.lora;
  engine_ = std::make_unique<Engine>(client, step, compile_cache_folder());
  engine_->load_frozen(*files_);
  engine_->set_trainable(values);
}

Judgement Judge::judge(const std::vector<PreferenceRow>& rows, const RowsDone& done) {
  BatchOptions options = judging_options(batch_options(recipe_, engine_->options().model.placement.mesh()));
  options.batch_size = std::min<int64_t>(options.batch_size, static_cast<int64_t>(rows.size()));
  Batcher batcher(tokenize(rows, TokenizeOptions{encode_options(recipe_, *tokenizer_)}, make_encoder(*tokenizer_)), options);
  return judge_dataset(*engine_, batcher, done);
}

void write_submission(const fs::path& path, const std::vector<PreferenceRow>& rows, const Judgement& judgement) {
  std::string text = "id,winner_model_a,winner_model_b,winner_tie\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& p = judgement.probabilities[i];
    text += fmt::format("{},{:.10f},{:.10f},{:.10f}\n", csv_field(rows[i].id), p[0], p[1], p[2]);
  }
  write_file(path, text);
}

}  // namespace gavel
