#include "train/run_about.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/version.h"
#include "data/statistics.h"
#include "judge/evaluate.h"
#include "report/table.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

Json about_data(const std::string& path, const TokenizedDataset& dataset) {
  DatasetStatistics statistics = dataset_statistics(dataset);
  const Distribution& d = statistics.lengths;
  return {{"path", path},
          {"rows", statistics.rows},
          {"labels", statistics.labels.sums},
          {"cut_rows", statistics.cut_rows},
          {"tokens",
           {{"count", d.count},
            {"mean", d.mean},
            {"std", d.std},
            {"min", d.min},
            {"25%", d.p25},
            {"50%", d.p50},
            {"75%", d.p75},
            {"90%", d.p90},
            {"max", d.max}}}};
}

}  // namespace

ParameterCounts count_parameters(const ModelOptions& model) {
  ParameterCounts counts;
  for (const TrainableParameter& parameter : trainable_layout(model).parameters)
    (parameter.held ? counts.frozen : counts.trained) += movable_elements(parameter, model.lora);
  for (const FrozenParameter& parameter : frozen_parameters(model)) counts.frozen += parameter.parameters();
  return counts;
}

std::string trainable_table(const ModelOptions& model) {
  std::vector<std::vector<std::string>> rows;
  for (const TrainableParameter& parameter : trainable_layout(model).parameters) {
    if (parameter.held) continue;
    const int64_t all = movable_elements(parameter, model.lora), each = num_elements(parameter.tensor.shape);
    rows.push_back({parameter.name, to_string(parameter.tensor.shape), format_count(each), format_count(all / each),
                    format_count(all)});
  }
  std::string table = format_table({"trainable", "shape", "each", "layers", "all"}, rows,
                                   {Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  auto [trained, frozen] = count_parameters(model);
  return table + fmt::format("trainable parameters: {} of {} ({:.4f} %)", format_count(trained),
                             format_count(trained + frozen),
                             100 * static_cast<double>(trained) / static_cast<double>(trained + frozen));
}

Json about_run(const Recipe& recipe, const StepOptions& options, const pjrt::Client& client, const Batcher& train,
               const Batcher* valid, int64_t total_steps) {
  const ModelOptions& model = options.model;
  auto [trained, frozen] = count_parameters(model);
  Json data = {{"train", about_data(recipe.data.train.text(), train.dataset())}};
  if (valid != nullptr) {
    const auto* file = std::get_if<std::string>(&recipe.data.valid);
    data["valid"] = about_data(file != nullptr ? *file : recipe.data.train.text(), valid->dataset());
  }
  if (const AuxiliaryClasses* found = train.dataset().auxiliary_classes()) data["auxiliary_classes"] = found->names;
  data["padding"] = train.waste().wasted();
  Json about = {{"gavel", version()},
                {"total_steps", total_steps},
                {"steps_per_epoch", train.steps_per_epoch()},
                {"device",
                 {{"platform", client.platform_name()},
                  {"kind", client.device(0).kind},
                  {"plugin", client.platform_version()},
                  {"threads", std::thread::hardware_concurrency()}}},
                {"model",
                 {{"path", recipe.model.path},
                  {"layers", model.spec.num_hidden_layers},
                  {"hidden_size", model.spec.hidden_size},
                  {"vocabulary", model.spec.vocab_size},
                  {"dtype", model.storage().describe()},
                  {"compute_dtype", dtype_name(model.compute_dtype)}}},
                {"parameters", trained + frozen},
                {"trainable_parameters", trained},
                {"data", data}};
  if (valid != nullptr) about["constant_log_loss"] = constant_log_loss(*options.task, valid->dataset());
  return about;
}

std::vector<std::pair<std::string, std::string>> run_environment(const pjrt::Client& client) {
  return {{"gavel", version()},
          {"platform", client.platform_name()},
          {"platform_version", client.platform_version()},
          {"device", client.device(0).kind},
          {"threads", std::to_string(std::thread::hardware_concurrency())}};
}

int64_t memory_in_use(const pjrt::Client& client) {
  if (!device_traits(client).is_host) return client.memory(client.device(0)).in_use;
  // Pages of all, and resident (proc(5)).
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return file >> all >> resident ? resident * ::sysconf(_SC_PAGESIZE) : -1;
}

}  // namespace gavel
