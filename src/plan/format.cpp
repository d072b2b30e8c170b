#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/recompute.h"
#include "plan/plan.h"
#include "report/table.h"

namespace gavel {

namespace {

std::string gigabytes(double bytes) {
  return bytes < 5e6 ? fmt::format("{:.4f} GB", bytes / 1e9) : fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string duration(double seconds) {
  if (seconds >= 3600) return fmt::format("{:.1f} h", seconds / 3600);
  return seconds >= 1 ? fmt::format("{:.2f} s", seconds) : fmt::format("{:.1f} ms", seconds * 1e3);
}

/** What the scan's gradient computes again, what is kept in place of that, and what it spares. */
std::string recompute_text(const Plan& plan) {
  const std::string name =
      fmt::format("{}{}", recompute_name(plan.recompute), plan.chose_recompute ? " (auto: the least that fits)" : "");
  if (plan.recompute == Recompute::kAll) return name + ": each layer backward, from what entered it";
  return fmt::format("{}: {} of activations kept{}, which spares {:.3g} TFLOP an optimizer step ({:.0f} %)", name,
                     gigabytes(plan.kept_bytes), plan.target.devices > 1 ? " over all devices" : "",
                     plan.spared_flops / 1e12, 100 * plan.spared_flops / (plan.flops_per_step + plan.spared_flops));
}

/** The share of the peak that a good run reaches; what is told beside the bound. */
constexpr double kUsualShare = 0.4;

void append_data(const Plan& plan, std::string& out) {
  auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    out += fmt::format(format, std::forward<Args>(args)...) + "\n";
  };
  if (plan.data)
    line(
        "data                 {} rows, {:.0f} tokens on average, {:.0f} at most; {:.1f} % padding; {} steps an "
        "epoch",
        plan.data->rows, plan.data->mean_tokens, plan.data->longest, 100 * plan.data->padding,
        plan.data->steps_per_epoch);
  else
    line("data                 not given");
  if (plan.total_steps == 0) {
    line("whole run            not known without data or train.max_steps");
    return;
  }
  const StepBounds mean = plan.mean_bounds();
  if (mean.seconds() <= 0) {
    line("whole run            {} steps; no time: the target's figures are not known", plan.total_steps);
    return;
  }
  const double seconds = mean.seconds() * static_cast<double>(plan.total_steps);
  line(
      "whole run            {} steps of at least {}{}: at least {}, about {} at {:.0f} % of what {} would give; "
      "evaluations "
      "not counted",
      plan.total_steps, duration(mean.seconds()),
      std::abs(plan.mean_share() - 1) < 0.005
          ? ""
          : fmt::format(" (by {}; on average a step has {:.0f} % of the planned tokens)", mean.decided_by(),
                        100 * plan.mean_share()),
      duration(seconds), duration(seconds / kUsualShare), 100 * kUsualShare, mean.decided_by());
}

void append_time(const Plan& plan, double tokens, std::string& out) {
  auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    out += fmt::format(format, std::forward<Args>(args)...) + "\n";
  };
  const StepBounds& b = plan.bounds;
  const Target& target = plan.target;
  if (b.seconds() <= 0) {
    line("  time               not known: the target's peak figures are not known");
    return;
  }
  line("  time               at least {}, which {} decide{}: {:.0f} tokens/s at most", duration(b.seconds()),
       b.decided_by(), std::string_view(b.decided_by()) == "memory" ? "s" : "", tokens / b.seconds());
  line("    matrix products  {} at {:.1f} TFLOP/s ({})", duration(b.compute),
       target.peak_flops(plan.compute_dtype) / 1e12,
       target.peak_flops(plan.compute_dtype) == target.f32_flops ? "float32" : dtype_name(plan.compute_dtype));
  line("    memory           {} for {} of weights and state at {:.0f} GB/s", duration(b.memory),
       gigabytes(plan.bytes_per_step), target.bandwidth / 1e9);
  if (target.devices > 1)
    line("    links            {} for {} into each device at {:.0f} GB/s ({}){}", duration(b.links),
         gigabytes(plan.received_bytes), target.link_bandwidth / 1e9, target.link_name,
         plan.collectives ? "" : ", estimated from the sharding");
}

/** What was taken for the prediction, in words. */
std::string basis_of(const Plan& plan) {
  const Efficiencies share;
  std::string links = plan.target.devices > 1 ? fmt::format(", {:.0f} % of the links'", 100 * share.links) : "";
  if (plan.prediction.by_cycles)
    return fmt::format("the compiler's own estimate of cycles at {:.2f} GHz{}", plan.target.clock / 1e9, links);
  return fmt::format("{:.0f} % of the products' peak, {:.0f} % of the memory's{}{}, at least {:.0f} us a kernel",
                     100 * share.products, 100 * share.memory,
                     plan.prediction.work.attention_flops > 0
                         ? fmt::format(", {:.0f} % in cuDNN's attention", 100 * share.attention)
                         : "",
                     links, 1e6 * share.kernel);
}

void append_prediction(const Plan& plan, std::string& out) {
  const Prediction& p = plan.prediction;
  if (p.seconds <= 0) return;
  auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    out += fmt::format(format, std::forward<Args>(args)...) + "\n";
  };
  line(
      "  prediction         {} a step, {:.0f} tokens/s, MFU {:.1f} %: a prediction from the compiled program, not "
      "measured",
      duration(p.seconds), plan.tokens() / p.seconds, 100 * plan.predicted_mfu());
  line("    taken for it     {}", basis_of(plan));
  if (!p.by_cycles)
    line("    executed         {:.1f} TFLOP{}{}, {:.0f} GB read and written, {} kernels",
         (p.work.flops + p.work.float32_flops + p.work.attention_flops) / 1e12,
         p.work.float32_flops > 0 ? fmt::format(" ({:.2f} in float32)", p.work.float32_flops / 1e12) : "",
         p.work.attention_flops > 0 ? fmt::format(" ({:.1f} in cuDNN's attention)", p.work.attention_flops / 1e12) : "",
         p.work.bytes / 1e9, p.work.launches);
  if (plan.target.devices > 1)
    line("    waiting          {} of it for other devices, the rest of what is sent goes on beside the work",
         duration(p.waiting));
}

}  // namespace

std::string format_plan(const Plan& plan) {
  std::string out;
  auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    out += fmt::format(format, std::forward<Args>(args)...) + "\n";
  };
  const DeviceBytes& b = plan.per_device;
  for (const std::string& note : plan.notes) line("note                 {}", note);
  line("target               {}: {} x {}, mesh {} (dp x fsdp x mp)", plan.target.name, plan.target.devices,
       plan.target.device_name, to_string(plan.mesh));
  line("model                {}: {} parameters, {} trained, layers {}", plan.model, format_count(plan.parameters),
       format_count(plan.trained), plan.scan ? "as a scan" : "unrolled, activations kept");
  if (!plan.layer_choice.empty()) line("                     {}", plan.layer_choice);
  if (plan.scan) line("recompute            {}", recompute_text(plan));
  line("step                 {} x {} tokens{}", plan.shape.sequences, plan.shape.length,
       plan.accumulation > 1 ? fmt::format(", {} times", plan.accumulation) : "");
  line("compiled             {} in {:.1f} s; never run", plan.compiled ? "yes" : "refused", plan.compile_seconds);
  out += "\nper device\n";
  line("  base weights       {}", gigabytes(b.weights));
  line("  adapters and head  {}", gigabytes(b.trainable));
  line("  optimizer          {}", gigabytes(b.optimizer));
  line("  batch              {}", gigabytes(b.batch));
  if (plan.compiled) {
    line("  temporaries        {}", gigabytes(b.temporaries));
    if (b.code > 0) line("  program            {}", gigabytes(b.code));
    line("  total              {} of {}{}: {}", gigabytes(b.total), gigabytes(b.capacity),
         b.capacity < plan.target.capacity_bytes
             ? fmt::format(" ({:.0f} % of its {}, GAVEL_CUDA_MEMORY_FRACTION)",
                           100 * b.capacity / plan.target.capacity_bytes, gigabytes(plan.target.capacity_bytes))
             : "",
         plan.fits ? "fits" : "DOES NOT FIT");
  } else {
    line("  total              more than the {} there are: DOES NOT FIT", gigabytes(b.capacity));
    line("  compiler           {}", plan.refusal.substr(0, plan.refusal.find('\n')));
  }
  for (const std::string& remedy : plan.remedies) line("  what would fit     {}", remedy);

  const double tokens = plan.tokens();
  out += "\none optimizer step\n";
  line("  matrix products    {:.3e} FLOPs, {:.3e} per token ({:.3e} per token without computing layers again)",
       plan.flops_per_step, plan.flops_per_step / tokens, plan.useful_flops / tokens);
  append_time(plan, tokens, out);
  append_prediction(plan, out);
  if (plan.collectives) {
    if (plan.collectives->bytes.empty()) line("  between devices    nothing");
    for (const auto& [kind, bytes] : plan.collectives->bytes)
      line("  {:<18} {} per device in {} calls, by the compiled program", kind, gigabytes(bytes),
           plan.collectives->calls.at(kind));
    if (plan.collectives->unknown_loops > 0)
      line("                     ({} loops do not state how often they run; counted once per layer)",
           plan.collectives->unknown_loops);
  } else if (plan.estimated_gather_bytes > 0) {
    line(
        "  all-gather         about {} of weights per device: an estimate from the sharding (there is no program to "
        "read)",
        gigabytes(plan.estimated_gather_bytes));
  }
  out += "\n";
  append_data(plan, out);
  return out;
}

std::string plan_json(const Plan& plan) {
  nlohmann::ordered_json json;
  const DeviceBytes& b = plan.per_device;
  json["target"] = plan.target.name;
  json["device"] = plan.target.device_name;
  json["devices"] = plan.target.devices;
  json["mesh"] = {{"dp", plan.mesh.dp}, {"fsdp", plan.mesh.fsdp}, {"mp", plan.mesh.mp}};
  json["model"] = plan.model;
  json["parameters"] = plan.parameters;
  json["trained_parameters"] = plan.trained;
  json["batch"] = {
      {"sequences", plan.shape.sequences}, {"length", plan.shape.length}, {"gradient_accumulation", plan.accumulation}};
  json["layers"] = plan.scan ? "scan" : "unrolled";
  if (!plan.layer_choice.empty()) json["layer_choice"] = plan.layer_choice;
  if (plan.scan)
    json["recompute"] = {{"what", recompute_name(plan.recompute)},
                         {"chosen", plan.chose_recompute},
                         {"kept_bytes", plan.kept_bytes},
                         {"spared_flops_per_step", plan.spared_flops}};
  json["compiled"] = plan.compiled;
  if (!plan.compiled) json["refusal"] = plan.refusal;
  json["fits"] = plan.fits;
  json["compile_seconds"] = plan.compile_seconds;
  for (const auto& [key, bytes] :
       std::initializer_list<std::pair<const char*, double>>{{"weights_bytes", b.weights},
                                                             {"trainable_bytes", b.trainable},
                                                             {"optimizer_bytes", b.optimizer},
                                                             {"batch_bytes", b.batch},
                                                             {"temporaries_bytes", b.temporaries},
                                                             {"program_bytes", b.code},
                                                             {"total_bytes", b.total},
                                                             {"capacity_bytes", b.capacity},
                                                             {"device_bytes", plan.target.capacity_bytes}})
    json["per_device"][key] = static_cast<int64_t>(bytes);
  json["remedies"] = plan.remedies;
  const double tokens = plan.tokens();
  json["flops_per_step"] = plan.flops_per_step;
  json["flops_per_token"] = plan.flops_per_step / tokens;
  json["flops_per_step_without_recompute"] = plan.useful_flops;
  auto bounds = [](const StepBounds& of) -> nlohmann::ordered_json {
    if (of.seconds() <= 0) return nullptr;
    return {{"compute", of.compute},
            {"memory", of.memory},
            {"links", of.links},
            {"bound", of.seconds()},
            {"decided_by", of.decided_by()}};
  };
  json["least_seconds_per_step"] = bounds(plan.bounds);
  if (const Prediction& p = plan.prediction; p.seconds > 0) {
    json["prediction"] = {
        {"measured", false},           {"seconds_per_step", p.seconds},  {"tokens_per_second", tokens / p.seconds},
        {"mfu", plan.predicted_mfu()}, {"taken_for_it", basis_of(plan)}, {"kernel_seconds", p.kernels},
        {"waiting_seconds", p.waiting}};
    if (!p.by_cycles)
      json["prediction"]["executed"] = {{"flops", p.work.flops + p.work.float32_flops + p.work.attention_flops},
                                        {"float32_flops", p.work.float32_flops},
                                        {"attention_flops", p.work.attention_flops},
                                        {"bytes", p.work.bytes},
                                        {"kernels", p.work.launches}};
  } else {
    json["prediction"] = nullptr;
  }
  if (plan.total_steps > 0)
    json["whole_run"] = {{"steps", plan.total_steps},
                         {"share_of_planned_tokens", plan.mean_share()},
                         {"least_seconds_per_step", bounds(plan.mean_bounds())},
                         {"least_seconds", plan.mean_bounds().seconds() * static_cast<double>(plan.total_steps)}};
  if (plan.collectives) {
    json["collectives"] = {{"source", "compiled program"},
                           {"bytes_per_device", plan.collectives->bytes},
                           {"calls", plan.collectives->calls},
                           {"received_bytes_per_device", plan.received_bytes}};
  } else if (plan.target.devices > 1) {
    json["collectives"] = {{"source", "estimate from the sharding"},
                           {"bytes_per_device", {{"all-gather", plan.estimated_gather_bytes}}},
                           {"received_bytes_per_device", plan.received_bytes}};
  }
  if (plan.data)
    json["data"] = {{"rows", plan.data->rows},
                    {"steps_per_epoch", plan.data->steps_per_epoch},
                    {"mean_tokens", plan.data->mean_tokens},
                    {"longest_tokens", plan.data->longest},
                    {"padding", plan.data->padding},
                    {"total_steps", plan.total_steps}};
  else
    json["data"] = "not given";
  json["notes"] = plan.notes;
  return json.dump(2);
}

}  // namespace gavel
