#include "report/html_report.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "report/html_page.h"
#include "report/html_rows.h"
#include "report/table.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;
using html::cell;
using html::number;
using Mark = ChartSeries::Mark;

double last_metric(const std::vector<MetricRow>& rows, const char* name) {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row)
    if (double value = metric(*row, name); std::isfinite(value)) return value;
  return std::nan("");
}

std::vector<PlotPoint> points_of(const std::vector<MetricRow>& rows, const char* name) {
  std::vector<PlotPoint> points;
  for (const MetricRow& row : rows) points.push_back({metric(row, "step"), metric(row, name)});
  return points;
}

/** Tokens a second of each step, from the times between lines; the mean so far where a line does not say. */
std::vector<PlotPoint> speeds(const std::vector<MetricRow>& rows) {
  std::vector<PlotPoint> points;
  double before = 0;
  for (const MetricRow& row : rows) {
    double elapsed = metric(row, "elapsed_seconds"), tokens = metric(row, "tokens");
    double speed =
        std::isfinite(tokens) && elapsed > before ? tokens / (elapsed - before) : metric(row, "tokens_per_second");
    points.push_back({metric(row, "step"), speed});
    before = elapsed;
  }
  return points;
}

/** The evaluation with the least log loss. */
const MetricRow* best_eval(const RecordedRun& run) {
  const MetricRow* best = nullptr;
  for (const MetricRow& row : run.evals)
    if (std::isfinite(metric(row, "log_loss")) &&
        (best == nullptr || metric(row, "log_loss") < metric(*best, "log_loss")))
      best = &row;
  return best;
}

/** A number or text of run.json by path; "" when it is not there. */
std::string fact(const Json& info, std::initializer_list<const char*> path) {
  const Json* at = &info;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return "";
    at = &(*at)[key];
  }
  if (at->is_string()) return at->get<std::string>();
  if (at->is_number_integer()) return format_count(at->get<int64_t>());
  if (at->is_number()) return number(at->get<double>(), 4);
  return at->is_null() ? "" : at->dump();
}

std::string status_of(const RecordedRun& run) {
  std::string status = fact(run.info, {"status"});
  return status.empty() ? "unknown" : status;
}

/** Runs of the same folder name are told apart by their whole path. */
std::vector<std::string> names_of(const std::vector<RecordedRun>& runs) {
  std::vector<std::string> names;
  for (const RecordedRun& run : runs) {
    bool unique =
        std::count_if(runs.begin(), runs.end(), [&](const RecordedRun& other) { return other.name == run.name; }) == 1;
    names.push_back(unique ? run.name : run.folder.string());
  }
  return names;
}

std::string tiles(const RecordedRun& run, const std::optional<Scores>& scores) {
  std::string out;
  auto tile = [&](const std::string& name, const std::string& value, const std::string& more) {
    if (value.empty() || value == "–") return;
    out +=
        fmt::format("<div class=\"tile\"><span class=\"tile-name\">{}</span><strong>{}</strong><span>{}</span></div>",
                    escape_markup(name), escape_markup(value), escape_markup(more));
  };
  double loss = last_metric(run.evals, "log_loss"), constant = std::nan("");
  if (auto found = run.info.find("constant_log_loss"); found != run.info.end() && found->is_number())
    constant = found->get<double>();
  if (!std::isfinite(constant) && scores) constant = scores->constant_log_loss;
  tile("validation log loss", number(loss, 4),
       std::isfinite(constant) ? fmt::format("label shares: {:.4f}", constant) : "");
  if (const MetricRow* best = best_eval(run))
    tile("best", number(metric(*best, "log_loss"), 4),
         fmt::format("at step {}", format_count(std::llround(metric(*best, "step")))));
  double accuracy = last_metric(run.evals, "accuracy");
  if (std::isfinite(accuracy))
    tile("accuracy", fmt::format("{:.1f} %", 100 * accuracy),
         scores ? fmt::format("label shares: {:.1f} %", 100 * scores->constant_accuracy) : "");
  if (scores)
    tile("calibration error", number(scores->calibration_error, 3),
         fmt::format("on {} rows", format_count(scores->rows)));
  double step = last_metric(run.train, "step");
  std::string total = fact(run.info, {"total_steps"});
  tile("steps", std::isfinite(step) ? format_count(std::llround(step)) : "", total.empty() ? "" : "of " + total);
  double seconds = last_metric(run.train, "elapsed_seconds"), speed = last_metric(run.train, "tokens_per_second");
  if (std::isfinite(seconds)) tile("training time", format_duration(seconds), "without evaluations");
  if (std::isfinite(speed)) tile("tokens a second", format_count(std::llround(speed)), "padding included");
  return "<div class=\"tiles\">" + out + "</div>";
}

/** Only where there are several runs. */
std::string comparison(const std::vector<RecordedRun>& runs, const std::vector<std::string>& names,
                       const std::vector<std::optional<Scores>>& scores) {
  std::vector<std::vector<std::string>> table;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RecordedRun& run = runs[i];
    const MetricRow* best = best_eval(run);
    table.push_back({fmt::format("<span class=\"c{} chip\"></span>{}", i % 6, escape_markup(names[i])),
                     escape_markup(status_of(run)), number(last_metric(run.train, "step"), 0),
                     number(last_metric(run.train, "mean_loss"), 4), number(last_metric(run.evals, "log_loss"), 4),
                     best == nullptr ? "–"
                                     : fmt::format("{} <span class=\"quiet\">(step {:.0f})</span>",
                                                   number(metric(*best, "log_loss"), 4), metric(*best, "step")),
                     number(last_metric(run.evals, "accuracy"), 4),
                     scores[i] ? number(scores[i]->calibration_error, 3) : "–",
                     std::isfinite(last_metric(run.train, "elapsed_seconds"))
                         ? format_duration(last_metric(run.train, "elapsed_seconds"))
                         : "–",
                     number(last_metric(run.train, "tokens_per_second"), 0)});
  }
  std::string out = html::card(html::table(
      {"run", "status", "steps", "mean loss", "log loss", "best", "accuracy", "calibration error", "time", "tokens/s"},
      table));

  // Settings that differ, in the order of the recipe.
  std::vector<std::map<std::string, std::string>> settings(runs.size());
  std::vector<std::string> keys;
  std::set<std::string> known;
  for (size_t i = 0; i < runs.size(); ++i)
    for (const auto& [key, value] : recipe_settings(runs[i].recipe)) {
      settings[i][key] = value;
      if (known.insert(key).second) keys.push_back(key);
    }
  std::vector<std::vector<std::string>> differences;
  for (const std::string& key : keys) {
    auto in_first = settings[0].find(key);
    bool same = in_first != settings[0].end() && std::all_of(settings.begin(), settings.end(), [&](const auto& own) {
                  auto found = own.find(key);
                  return found != own.end() && found->second == in_first->second;
                });
    if (same) continue;
    differences.push_back({"<code>" + escape_markup(key) + "</code>"});
    for (auto& own : settings) differences.back().push_back(own.contains(key) ? cell(own[key]) : "–");
  }
  if (!differences.empty()) {
    std::vector<std::string> header = {"setting"};
    for (const std::string& name : names) header.push_back(escape_markup(name));
    out += html::card("<h3>Settings that differ</h3>" + html::table(header, differences, html::Columns::kText));
  }
  return html::section("Comparison", "<div class=\"stack\">" + out + "</div>");
}

/** A card whose chart is drawn for wide windows and once more for phones: scaled from one to the other, its
 * letters would be too large or too small. */
std::string wide_card(Chart chart, double width, double height) {
  std::string narrow = chart_svg(chart);
  chart.width = width;
  chart.height = height;
  return html::card("<div class=\"only-wide\">" + chart_svg(chart) + "</div><div class=\"only-narrow\">" + narrow +
                    "</div>");
}

std::string training_charts(const std::vector<RecordedRun>& runs, const std::vector<std::string>& names) {
  bool several = runs.size() > 1;
  Chart loss{.title = "Training loss"}, rate{.title = "Learning rate", .y_numbers = AxisNumbers::kScientific},
      norm{.title = "Gradient norm (before clipping)"},
      speed{.title = "Tokens a second", .y_numbers = AxisNumbers::kCount, .from_zero = true};
  for (size_t i = 0; i < runs.size(); ++i) {
    std::vector<PlotPoint> losses = points_of(runs[i].train, "loss"), norms = points_of(runs[i].train, "gradient_norm"),
                           tokens = speeds(runs[i].train);
    loss.series.push_back({several ? "" : "loss of a step", losses, Mark::kFaint, i});
    loss.series.push_back({several ? names[i] : "moving mean", moving_mean(losses), Mark::kLine, i});
    rate.series.push_back({several ? names[i] : "", points_of(runs[i].train, "learning_rate"), Mark::kLine, i});
    norm.series.push_back({"", norms, Mark::kFaint, i});
    norm.series.push_back({several ? names[i] : "", moving_mean(norms), Mark::kLine, i});
    speed.series.push_back({"", tokens, Mark::kFaint, i});
    speed.series.push_back({several ? names[i] : "", moving_mean(tokens), Mark::kLine, i});
  }
  return html::section("Training", "<div class=\"cards\">" + wide_card(loss, 1180, 330) +
                                       "</div><div class=\"cards\">" + html::card(chart_svg(rate)) +
                                       html::card(chart_svg(norm)) + html::card(chart_svg(speed)) + "</div>");
}

std::string validation_charts(const std::vector<RecordedRun>& runs, const std::vector<std::string>& names,
                              const std::vector<std::optional<Scores>>& scores) {
  bool several = runs.size() > 1;
  Chart loss{.title = "Validation log loss"}, accuracy{.title = "Validation accuracy"};
  bool any = false;
  for (size_t i = 0; i < runs.size(); ++i) {
    any = any || !runs[i].evals.empty();
    loss.series.push_back({several ? names[i] : "", points_of(runs[i].evals, "log_loss"), Mark::kPoints, i});
    accuracy.series.push_back({several ? names[i] : "", points_of(runs[i].evals, "accuracy"), Mark::kPoints, i});
  }
  if (!any) return "";
  // One line for all runs is only right if they are judged on the same labels.
  bool same_labels =
      scores[0] && std::all_of(scores.begin(), scores.end(), [&](const auto& own) {
        return own && own->rows == scores[0]->rows && own->constant_log_loss == scores[0]->constant_log_loss;
      });
  if (same_labels) {
    loss.reference = {scores[0]->constant_log_loss, "label shares"};
    accuracy.reference = {scores[0]->constant_accuracy, "most frequent label"};
  }
  return html::section("Validation",
                       "<div class=\"cards\">" + wide_card(loss, 580, 280) + wide_card(accuracy, 580, 280) + "</div>");
}

std::string lengths_chart(const std::vector<JudgedRow>& rows) {
  constexpr size_t kMostDots = 1500;
  Chart chart{.title = "Length against loss", .x_name = "tokens", .from_zero = true};
  std::vector<PlotPoint> all;
  for (const JudgedRow& row : rows) all.push_back({static_cast<double>(row.tokens), row.loss()});
  std::sort(all.begin(), all.end(), [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  std::vector<PlotPoint> dots;
  for (size_t i = 0; i < all.size(); i += all.size() / kMostDots + 1) dots.push_back(all[i]);
  chart.series.push_back({"a row", dots, Mark::kCloud, 0});
  // The mean of each eighth of the rows by length.
  std::vector<PlotPoint> means;
  for (size_t part = 0; part < 8; ++part) {
    size_t begin = all.size() * part / 8, end = all.size() * (part + 1) / 8;
    if (begin == end) continue;
    PlotPoint mean{0, 0};
    for (size_t i = begin; i < end; ++i) {
      mean.x += all[i].x / static_cast<double>(end - begin);
      mean.y += all[i].y / static_cast<double>(end - begin);
    }
    if (means.empty() || mean.x > means.back().x) means.push_back(mean);
  }
  chart.series.push_back({"mean of an eighth", means, Mark::kLine, 1});
  return chart_svg(chart);
}

std::string validation_details(const RecordedRun& run, const Scores& scores, const ReportOptions& options) {
  std::string out = "<div class=\"cards\">" + html::card(html::confusion_table(scores)) +
                    html::card(reliability_svg(scores)) + html::card(lengths_chart(run.validation.rows)) +
                    "</div><div class=\"cards\">" + html::card("<h3>By class</h3>" + html::class_table(scores)) +
                    html::card("<h3>By length</h3>" + html::group_table(scores.by_length));
  if (!scores.by_turns.empty()) out += html::card("<h3>By turns</h3>" + html::group_table(scores.by_turns));
  if (options.subsets)
    if (const std::vector<std::string> names = options.subsets(run); !names.empty())
      out += html::card("<h3>By subset</h3>" + html::group_table(score_groups(run.validation.rows, names)));
  out += "</div>" + html::reward_cards(run.validation.rows, run.tie_logit);
  constexpr size_t kShown = 8;
  std::vector<JudgedRow> wrong = run.validation.rows, uncertain = run.validation.rows;
  auto keep_top = [&](std::vector<JudgedRow>& rows, auto value) {
    size_t count = std::min(kShown, rows.size());
    std::stable_sort(rows.begin(), rows.end(),
                     [&](const JudgedRow& a, const JudgedRow& b) { return value(a) > value(b); });
    rows.resize(count);
  };
  keep_top(wrong, [](const JudgedRow& row) { return row.loss(); });
  keep_top(uncertain, [](const JudgedRow& row) { return row.uncertainty(); });
  std::vector<int64_t> wanted;
  for (const auto* rows : {&wrong, &uncertain})
    for (const JudgedRow& row : *rows) wanted.push_back(row.row);
  std::map<int64_t, RowTexts> texts;
  if (options.texts) texts = options.texts(run, wanted);
  out += "<h3>Most wrong</h3>" + html::row_list(wrong, texts, scores.ties) + "<h3>Most uncertain</h3>" +
         html::row_list(uncertain, texts, scores.ties);
  return out;
}

std::string facts_tables(const RecordedRun& run, bool ties) {
  std::string out;
  std::vector<std::vector<std::string>> facts;
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.push_back({name, cell(value)});
  };
  const Json& info = run.info;
  add("folder", run.folder.string());
  add("status", fact(info, {"status"}));
  add("message", fact(info, {"message"}));
  add("started", fact(info, {"started"}));
  add("last written", fact(info, {"updated"}));
  add("Gavel", fact(info, {"gavel"}));
  add("device", fact(info, {"device", "platform"}));
  add("device kind", fact(info, {"device", "kind"}));
  add("plugin", fact(info, {"device", "plugin"}));
  add("threads", fact(info, {"device", "threads"}));
  add("model", fact(info, {"model", "path"}));
  add("layers", fact(info, {"model", "layers"}));
  add("hidden size", fact(info, {"model", "hidden_size"}));
  add("weights", fact(info, {"model", "dtype"}));
  add("computed in", fact(info, {"model", "compute_dtype"}));
  add("parameters", fact(info, {"parameters"}));
  add("trainable", fact(info, {"trainable_parameters"}));
  if (info.contains("resumes") && info["resumes"].is_array() && !info["resumes"].empty())
    add("resumed", std::to_string(info["resumes"].size()) + " times");
  out += html::card("<h3>Run</h3>" + html::table({}, facts, html::Columns::kText));

  if (info.contains("data") && info["data"].is_object()) {
    std::vector<std::vector<std::string>> rows;
    const Json& data = info["data"];
    auto both = [&](const std::string& name, auto read) {
      std::string train = read("train"), valid = read("valid");
      if (!train.empty() || !valid.empty()) rows.push_back({escape_markup(name), cell(train), cell(valid)});
    };
    both("file", [&](const char* part) { return fact(data, {part, "path"}); });
    both("rows", [&](const char* part) { return fact(data, {part, "rows"}); });
    both("shortened", [&](const char* part) { return fact(data, {part, "cut_rows"}); });
    for (size_t i = 0; i < (ties ? 3U : 2U); ++i)
      both(fmt::format("label {}", kOutcomes[i]), [&](const char* part) -> std::string {
        if (!data.contains(part) || !data[part].is_object() || !data[part].contains("labels")) return "";
        const Json& labels = data[part]["labels"];
        return labels.is_array() && labels.size() == 3 && labels[i].is_number() ? number(labels[i].get<double>(), 0)
                                                                                : "";
      });
    std::vector<std::string> names;
    for (const char* part : {"train", "valid"})
      if (data.contains(part) && data[part].is_object() && data[part].contains("tokens") &&
          data[part]["tokens"].is_object())
        for (const auto& [name, value] : data[part]["tokens"].items())
          if (name != "count" && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    for (const std::string& name : names)
      both("tokens " + name, [&](const char* part) -> std::string {
        if (!data.contains(part) || !data[part].is_object() || !data[part].contains("tokens")) return "";
        const Json& tokens = data[part]["tokens"];
        return tokens.is_object() && tokens.contains(name) && tokens[name].is_number()
                   ? number(tokens[name].get<double>(), 1)
                   : "";
      });
    if (data.contains("padding") && data["padding"].is_number())
      rows.push_back({"padding", fmt::format("{:.1f} %", 100 * data["padding"].get<double>()), ""});
    out += html::card("<h3>Data</h3>" + html::table({"", "training", "validation"}, rows));
  }
  std::string recipe = "<h3>Recipe</h3><pre>" + escape_markup(run.recipe) + "</pre>";
  return "<div class=\"cards\">" + out + (run.recipe.empty() ? "" : html::card(recipe)) + "</div>";
}

std::string notes_of(const RecordedRun& run) {
  std::string out;
  for (const std::string& note : run.notes) out += "<p class=\"warning\">" + escape_markup(note) + "</p>";
  return out;
}

}  // namespace

std::string report_html(const std::vector<RecordedRun>& runs, const ReportOptions& options) {
  if (runs.empty()) fail("report: there are no runs");
  std::vector<std::string> names = names_of(runs);
  std::vector<std::optional<Scores>> scores;
  bool running = false;
  for (const RecordedRun& run : runs) {
    scores.push_back(run.validation.rows.empty() ? std::nullopt : std::optional(score(run.validation.rows)));
    running = running || status_of(run) == "running";
  }
  bool several = runs.size() > 1;
  std::string title = !options.title.empty() ? options.title : several ? fmt::format("{} runs", runs.size()) : names[0];
  std::string body = options.first_html;
  if (several) {
    for (const RecordedRun& run : runs) body += notes_of(run);
    body += comparison(runs, names, scores);
  } else {
    body += notes_of(runs[0]) + tiles(runs[0], scores[0]);
  }
  body += training_charts(runs, names) + validation_charts(runs, names, scores);
  for (size_t i = 0; i < runs.size() && options.details; ++i) {
    std::string of = several ? " of " + escape_markup(names[i]) : "";
    if (scores[i])
      body += html::section(fmt::format("What the {} says{} <span class=\"quiet\">{} validation rows at step {}</span>",
                                        runs[i].validation.rows[0].rewards ? "reward" : "judge", of,
                                        format_count(scores[i]->rows), format_count(runs[i].validation.step)),
                            validation_details(runs[i], *scores[i], options));
    if (const std::string cards = html::calibration_cards(runs[i].calibration); !cards.empty())
      body += html::section("Calibration" + of, "<div class=\"cards\">" + cards + "</div>");
    body += html::section("Settings and versions" + of, facts_tables(runs[i], !scores[i] || scores[i]->ties));
  }
  std::string under =
      several ? ""
              : fmt::format("<span class=\"status {}\">{}</span> {}", status_of(runs[0]) == "finished" ? "good" : "",
                            escape_markup(status_of(runs[0])), escape_markup(fact(runs[0].info, {"updated"})));
  return html::page(title, under, body, running);
}

}  // namespace gavel
