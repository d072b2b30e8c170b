#include "measure/parity.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json_text.h"
#include "engine/engine.h"
#include "io/safetensors.h"
#include "model/adapter.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr double kLogitsTolerance = 1e-5;    // absolute
constexpr double kGradientTolerance = 2e-5;  // relative
constexpr double kFinalTolerance = 1e-6;     // absolute
// With products of bfloat16, whose numbers have eight bits.
constexpr double kNarrowLogitsTolerance = 0.1, kNarrowGradientTolerance = 0.25;
constexpr size_t kLabelsDimension = 2;  // of labels [steps, batch, labels]

void compare_values(Difference& difference, std::string_view name, std::span<const float> found,
                    std::span<const float> expected) {
  if (found.size() != expected.size())
    fail("parity: {}: {} values computed, {} expected", name, found.size(), expected.size());
  double largest = 0, scale = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    double d = std::fabs(static_cast<double>(found[i]) - expected[i]);
    // A NaN must not pass for a small difference.
    if (std::isnan(d)) d = std::numeric_limits<double>::infinity();
    largest = std::max(largest, d);
    scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
  }
  difference.max_abs = std::max(difference.max_abs, largest);
  double relative = scale > 0 ? largest / scale : largest;
  if (relative >= difference.max_rel) {
    difference.max_rel = relative;
    difference.worst = name;
  }
}

/** PEFT's name in memory: "….lora_A.default.weight", "….score.modules_to_save.default.weight". */
std::string in_memory_name(const std::string& file_name) {
  std::string stem = file_name.ends_with(".weight") ? file_name.substr(0, file_name.rfind('.')) : file_name;
  bool is_head = stem.ends_with(".score");
  return stem + (is_head ? ".modules_to_save.default.weight" : ".default.weight");
}

/** Step `step` of tensors [steps, …], as a batch whose rows have so many texts. */
Batch golden_batch(const SafetensorsFile& file, size_t step, int32_t pad_id, int64_t texts_per_row) {
  HostTensor ids = file.tensor("input_ids"), mask = file.tensor("attention_mask"), labels = file.tensor("labels");
  if (ids.shape().size() != 3 || mask.shape() != ids.shape() || labels.shape().size() != 3 ||
      ids.shape()[1] != labels.shape()[1] * texts_per_row)
    fail(
        "parity: batch.safetensors: input_ids and attention_mask must be [steps, texts, length], labels [steps, rows, "
        "targets], with {} texts for each row",
        texts_per_row);
  int64_t b = ids.shape()[1], s = ids.shape()[2], rows = labels.shape()[1], n = labels.shape()[2];
  auto count = static_cast<size_t>(b * s);
  auto id_values = ids.as<int32_t>().subspan(step * count, count);
  auto mask_values = mask.as<int32_t>().subspan(step * count, count);
  auto label_values = labels.as<float>().subspan(step * static_cast<size_t>(rows * n), static_cast<size_t>(rows * n));
  Batch batch;
  auto tokens = [&] { return HostTensor(DType::kI32, {b, s}); };
  batch.input_ids = tokens();
  batch.positions = tokens();
  batch.segment_ids = tokens();
  batch.dropout_rows = tokens();
  batch.last_index = HostTensor(DType::kI32, {b});
  batch.labels = HostTensor(DType::kF32, {rows, n});
  batch.weights = HostTensor(DType::kF32, {rows});
  std::copy(id_values.begin(), id_values.end(), batch.input_ids.as_mutable<int32_t>().begin());
  std::copy(mask_values.begin(), mask_values.end(), batch.segment_ids.as_mutable<int32_t>().begin());
  std::copy(label_values.begin(), label_values.end(), batch.labels.as_mutable<float>().begin());
  std::fill_n(batch.weights.as_mutable<float>().begin(), rows, 1.0f);
  for (int64_t row = 0; row < b; ++row) {
    int32_t last = 0;
    for (int64_t place = 0; place < s; ++place) {
      auto at = static_cast<size_t>(row * s + place);
      batch.positions.as_mutable<int32_t>()[at] = static_cast<int32_t>(place);
      batch.dropout_rows.as_mutable<int32_t>()[at] = static_cast<int32_t>(row);
      if (id_values[at] != pad_id) last = static_cast<int32_t>(place);
    }
    batch.last_index.as_mutable<int32_t>()[static_cast<size_t>(row)] = static_cast<int32_t>(row * s) + last;
  }
  return batch;
}

/** Whether padding stands behind the texts alone. */
bool pads_at_the_end(const SafetensorsFile& file) {
  const HostTensor mask = file.tensor("attention_mask");
  const auto values = mask.as<int32_t>();
  const auto length = static_cast<size_t>(mask.shape().back());
  for (size_t i = 1; i < values.size(); ++i)
    if (i % length != 0 && values[i] > values[i - 1]) return false;
  return true;
}

}  // namespace

bool ParityReport::passed() const {
  for (const auto& [name, difference] : quantities)
    if (!difference.within) return false;
  return true;
}

ParityReport run_parity(const fs::path& folder, LayerForm form, Kernels kernels, std::shared_ptr<pjrt::Client> client,
                        const fs::path& compile_cache, const Mesh& mesh, Recompute recompute, DType compute) {
  auto files = ModelFiles::open(folder);
  nlohmann::json recipe;
  fs::path recipe_path = folder / "recipe.json";
  std::vector<double> rates;
  StepOptions options;
  try {
    recipe = nlohmann::json::parse(read_json_text(recipe_path));
    rates = recipe.at("lr_per_step").get<std::vector<double>>();
    if (recipe.contains("rates")) {
      const nlohmann::json& differ = recipe["rates"];
      options.rates = {differ.at("head"), differ.at("lora_b"), differ.at("layer_decay"), differ.at("head_only_steps")};
    }
    if (recipe.contains("quantised")) {
      const nlohmann::json& held = recipe["quantised"];
      const auto codes = held.at("codes") == "nf4" ? Quantisation::Codes::kNf4 : Quantisation::Codes::kInt8;
      options.model.dtype = DType::kBF16;
      options.model.quantisation = Quantisation{codes, held.at("group")};
    }
    options.adam = {recipe.at("betas").at(0), recipe.at("betas").at(1), recipe.at("eps"), recipe.at("weight_decay")};
  } catch (const nlohmann::json::exception& error) {
    fail("{}: {}", recipe_path.string(), error.what());
  }
  const PeftConfig peft = PeftConfig::read(folder / "adapter");
  auto batches = SafetensorsFile::open(folder / "batch.safetensors");
  auto expected = SafetensorsFile::open(folder / "expected.safetensors");
  options.model.spec = files.spec();
  const int64_t targets = batches->tensor("labels").shape().at(kLabelsDimension);
  options.task = recipe.value("task", "judge") == "reward"
                     ? reward_task({targets == 3, recipe.value("center_rewards_coefficient", 0.0)})
                 : recipe.value("form", "joint") == "siamese" ? siamese_task(targets)
                                                              : judging_task(targets);
  options.model.learns_tie = options.task->learns_tie();
  options.model.num_labels = options.task->num_labels();
  LoadedAdapterWeights adapter = read_adapter(peft, files.spec(), options.model.num_labels, &files);
  options.model.lora = adapter.config.lora;
  options.model.form = form;
  options.model.recompute = recompute;
  options.model.kernels = kernels;
  options.model.one_text = pads_at_the_end(*batches);
  options.model.compute_dtype = compute;
  options.model.placement = Placement(mesh, {}, files.spec());

  Engine engine(std::move(client), options, compile_cache);
  engine.load_frozen(files);
  engine.set_trainable(adapter.values);
  const std::vector<TrainableParameter> parameters = trainable_layout(options.model).parameters;
  ParityReport report;
  auto compare_trainable = [&](const std::string& quantity, const std::vector<HostTensor>& values) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].peft_names.empty()) {
        const std::string name = quantity + "." + parameters[i].name;
        compare_values(report.quantities[quantity], name, values[i].as<float>(), expected->tensor(name).as<float>());
      }
      size_t size = values[i].as<float>().size() / std::max<size_t>(1, parameters[i].peft_names.size());
      for (size_t layer = 0; layer < parameters[i].peft_names.size(); ++layer) {
        if (parameters[i].stacked && !options.model.lora.adapts(static_cast<int64_t>(layer))) continue;
        std::string name = quantity + "." + in_memory_name(parameters[i].peft_names[layer]);
        compare_values(report.quantities[quantity], name, values[i].as<float>().subspan(layer * size, size),
                       expected->tensor(name).as<float>());
      }
    }
  };

  HostTensor logits = expected->tensor("logits"), losses = expected->tensor("loss");
  auto pad_id = static_cast<int32_t>(files.config().pad_token_id.value_or(-1));
  for (size_t step = 0; step < rates.size(); ++step) {
    Batch batch = golden_batch(*batches, step, pad_id, options.task->texts_per_row());
    auto rows = static_cast<size_t>(batch.labels.shape()[0]);
    auto [gradients, found] = engine.gradients(batch, 0);
    if (step == 0) {
      compare_trainable("grad", gradients);
      report.argument_bytes = engine.train_program(shape_of(batch)).executable.memory().arguments;
    }
    size_t size = found.as<float>().size();
    compare_values(report.quantities["logits"], fmt::format("logits of step {}", step), found.as<float>(),
                   logits.as<float>().subspan(step * size, size));
    auto sums =
        engine.train_step(std::span(&batch, 1), static_cast<int64_t>(step), rates[step], static_cast<double>(rows), 0)
            .get();
    auto loss = static_cast<float>(sums.loss / static_cast<double>(rows));
    compare_values(report.quantities["loss"], fmt::format("loss of step {}", step), std::span(&loss, 1),
                   losses.as<float>().subspan(step, 1));
  }
  compare_trainable("final", engine.trainable());

  const bool narrow = compute == DType::kBF16;
  for (const char* name : {"logits", "loss"})
    report.quantities[name].within =
        report.quantities[name].max_abs <= (narrow ? kNarrowLogitsTolerance : kLogitsTolerance);
  report.quantities["grad"].within =
      report.quantities["grad"].max_rel <= (narrow ? kNarrowGradientTolerance : kGradientTolerance);
  // AdamW's first steps are as long for a gradient that rounding made as for any other.
  report.quantities["final"].within = narrow || report.quantities["final"].max_abs <= kFinalTolerance;
  return report;
}

std::string format_parity(const ParityReport& report) {
  std::string out;
  for (const auto& [name, d] : report.quantities)
    out += fmt::format("{:<7} max abs {:.2e}  max rel {:.2e}  {}  (worst: {})\n", name, d.max_abs, d.max_rel,
                       d.within ? "ok" : "BEYOND TOLERANCE", d.worst);
  out += fmt::format("arguments of the training step: {} bytes per device\n", report.argument_bytes);
  return out;
}

std::string parity_json(const ParityReport& report) {
  nlohmann::ordered_json json;
  for (const auto& [name, d] : report.quantities)
    json[name] = {{"max_abs", d.max_abs}, {"max_rel", d.max_rel}, {"within", d.within}};
  json["argument_bytes_per_device"] = report.argument_bytes;
  json["passed"] = report.passed();
  return json.dump();
}

}  // namespace gavel
