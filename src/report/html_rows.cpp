#include "report/html_rows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/html_page.h"
#include "report/table.h"

namespace gavel::html {

std::string confusion_table(const Scores& scores) {
  std::string out = "<h3>Confusion matrix</h3><table class=\"confusion\"><thead><tr><th>label</th>";
  const size_t outcomes = scores.ties ? 3 : 2;
  for (size_t i = 0; i < outcomes; ++i) out += fmt::format("<th>judged {}</th>", kOutcomes[i]);
  out += "</tr></thead><tbody>";
  for (size_t label = 0; label < outcomes; ++label) {
    out += fmt::format("<tr><th>{}</th>", kOutcomes[label]);
    for (size_t verdict = 0; verdict < outcomes; ++verdict) {
      int64_t count = scores.confusion[label][verdict], all = scores.classes[label].rows;
      double share = all == 0 ? 0 : static_cast<double>(count) / static_cast<double>(all);
      out += fmt::format("<td class=\"heat{}\" style=\"--share: {:.2f}\">{}<small>{:.0f} %</small></td>",
                         label == verdict ? " hit" : "", 0.75 * share, format_count(count), 100 * share);
    }
    out += "</tr>";
  }
  return out + "</tbody></table>";
}

std::string class_table(const Scores& scores) {
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < (scores.ties ? 3U : 2U); ++i) {
    const ClassScore& found = scores.classes[i];
    rows.push_back({kOutcomes[i], format_count(found.rows), number(found.precision, 3), number(found.recall, 3),
                    number(found.f1, 3), number(found.log_loss, 3)});
  }
  return table({"", "rows", "precision", "recall", "F1", "log loss"}, rows);
}

std::string group_table(const std::vector<GroupScore>& groups) {
  std::vector<std::vector<std::string>> rows;
  for (const GroupScore& group : groups)
    rows.push_back(
        {escape_markup(group.name), format_count(group.rows), number(group.log_loss, 3), number(group.accuracy, 3)});
  return table({"", "rows", "log loss", "accuracy"}, rows);
}

std::string calibration_cards(const nlohmann::ordered_json& calibration) {
  std::string out;
  auto text = [](const nlohmann::ordered_json& value) {
    return escape_markup(value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "?");
  };
  for (const auto& [key, title] : {std::pair{"one_order", "one order"}, {"both_orders", "both orders averaged"}}) {
    if (!calibration.is_object() || !calibration.contains(key) || !calibration[key].is_object()) continue;
    const auto& one = calibration[key];
    auto member = [&](const char* name) { return one.contains(name) ? text(one[name]) : std::string("?"); };
    std::vector<std::vector<std::string>> rows;
    for (const char* list : {"log_loss", "baselines"}) {
      if (!one.contains(list) || !one[list].is_array()) continue;
      for (const auto& figure : one[list]) {
        if (!figure.is_object()) continue;
        auto value = [&](const char* name) {
          return figure.contains(name) && figure[name].is_number() ? number(figure[name].get<double>(), 4)
                                                                   : std::string("–");
        };
        std::string name = figure.contains("name") ? text(figure["name"]) : "?";
        if (std::string_view(list) == "log_loss") name = name == "none" ? "the judge as it is" : "the judge, " + name;
        rows.push_back({name, value("in_sample"), value("cross_validated")});
      }
    }
    out += html::card(fmt::format("<h3>{}, for {}</h3><p>fitted to {} rows of {}</p>", member("kind"), title,
                                  member("rows"), member("data")) +
                      html::table({"", "log loss in sample", "cross-validated"}, rows));
  }
  return out;
}

std::string row_list(const std::vector<JudgedRow>& rows, const std::map<int64_t, RowTexts>& texts, bool ties) {
  constexpr const char* kClasses[] = {"a", "b", "t"};
  std::string out = "<div class=\"rows\">";
  for (const JudgedRow& row : rows) {
    std::string bar;
    for (size_t i = 0; i < (ties ? 3U : 2U); ++i) {
      double percent = 100 * row.probabilities[i];
      bar += fmt::format("<span class=\"{}\" style=\"width: {:.1f}%\">{}</span>", kClasses[i], percent,
                         percent >= 14 ? fmt::format("{} {:.0f} %", kOutcomes[i], percent) : "");
    }
    bool soft = row.label[row.truth()] < 0.999;
    std::string label = kOutcomes[row.truth()];
    if (soft) label = fmt::format("{:.2f} / {:.2f}", row.label[0], row.label[1]);
    if (soft && ties) label += fmt::format(" / {:.2f}", row.label[2]);
    std::string summary = fmt::format(
        "<span class=\"id\">{}</span><span class=\"bar3\">{}</span><span "
        "class=\"number\"><i>label</i>{}</span><span "
        "class=\"number\"><i>loss</i>{:.3f}</span><span class=\"number\"><i>tokens</i>{}</span>",
        row.id.empty() ? fmt::format("row {}", format_count(row.row)) : escape_markup(row.id), bar, label, row.loss(),
        format_count(row.tokens));
    auto found = texts.find(row.row);
    if (found == texts.end()) {
      out += "<details class=\"row\"><summary class=\"nothing\">" + summary + "</summary></details>";
      continue;
    }
    const RowTexts& own = found->second;
    out += "<details class=\"row\"><summary>" + summary + "</summary><div class=\"texts\">";
    auto answer = [&](size_t which) {
      return fmt::format("answer {}{}", kOutcomes[which],
                         row.rewards ? fmt::format(", reward {:.3f}", (*row.rewards)[which]) : "");
    };
    for (const auto& [name, text] : {std::pair<std::string, const std::string*>{"prompt", &own.prompt},
                                     {answer(0), &own.response_a},
                                     {answer(1), &own.response_b}})
      out += fmt::format("<div><b>{}</b>{}</div>", name, escape_markup(*text));
    out += "</div></details>";
  }
  return out + "</div>";
}

namespace {

struct NamedValues {
  std::string name;
  std::vector<double> values;
};

/** The outlines of histograms over the same bins. */
Chart histograms(const std::string& title, const std::string& x_name, const std::vector<NamedValues>& groups) {
  Chart chart{.title = title, .x_name = x_name, .y_numbers = AxisNumbers::kCount, .from_zero = true, .x_whole = false};
  double low = INFINITY, high = -INFINITY;
  for (const NamedValues& group : groups)
    for (double value : group.values) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  if (!std::isfinite(high - low)) return chart;
  const std::vector<double> edges = low < high ? round_ticks(low, high, 20) : std::vector<double>{low - 0.5, low + 0.5};
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].values.empty()) continue;
    std::vector<double> counts(edges.size() - 1);
    for (double value : groups[i].values) {
      const auto bin = std::upper_bound(edges.begin(), edges.end(), value) - edges.begin() - 1;
      ++counts[static_cast<size_t>(std::clamp<std::ptrdiff_t>(bin, 0, std::ssize(counts) - 1))];
    }
    std::vector<PlotPoint> outline = {{edges.front(), 0}};
    for (size_t bin = 0; bin < counts.size(); ++bin) {
      outline.push_back({edges[bin], counts[bin]});
      outline.push_back({edges[bin + 1], counts[bin]});
    }
    outline.push_back({edges.back(), 0});
    chart.series.push_back({groups[i].name, std::move(outline), ChartSeries::Mark::kLine, i});
  }
  return chart;
}

double mean_value(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? std::nan("") : sum / static_cast<double>(values.size());
}

}  // namespace

std::string reward_cards(const std::vector<JudgedRow>& rows, const std::optional<double>& tie_logit) {
  NamedValues preferred{"preferred", {}}, others{"other", {}}, even{"of ties", {}};
  NamedValues margins{"preferred less other", {}}, differences{"A less B, of ties", {}};
  int64_t right = 0;
  bool any = false;
  for (const JudgedRow& row : rows) {
    if (!row.rewards) continue;
    any = true;
    const auto [a, b] = *row.rewards;
    if (row.label[0] == row.label[1] || row.truth() == 2) {
      even.values.insert(even.values.end(), {a, b});
      differences.values.push_back(a - b);
      continue;
    }
    const bool a_better = row.label[0] > row.label[1];
    preferred.values.push_back(a_better ? a : b);
    others.values.push_back(a_better ? b : a);
    margins.values.push_back(a_better ? a - b : b - a);
    right += margins.values.back() > 0;
  }
  if (!any) return "";
  std::vector<std::vector<std::string>> facts;
  auto add = [&](const char* name, const std::string& value) { facts.push_back({name, value}); };
  const std::string pairs = format_count(std::ssize(margins.values));
  add("mean, preferred answers", number(mean_value(preferred.values), 3));
  add("mean, the others", number(mean_value(others.values), 3));
  if (!even.values.empty()) add("mean, answers of ties", number(mean_value(even.values), 3));
  add("mean margin", number(mean_value(margins.values), 3));
  if (!margins.values.empty())
    add("margin above 0",
        fmt::format("{:.1f} % of {}", 100 * static_cast<double>(right) / static_cast<double>(margins.values.size()),
                    pairs));
  if (tie_logit) {
    const double weight = std::exp(*tie_logit);
    add("logit of a tie (learnt)", number(*tie_logit, 3));
    add("a tie of equal rewards", fmt::format("{:.1f} %", 100 * weight / (2 + weight)));
    add("verdict tie", *tie_logit > 0 ? fmt::format("margin below {:.3f}", 2 * *tie_logit) : std::string("never"));
  }
  return "<div class=\"cards\">" +
         card(chart_svg(histograms("Rewards", "reward; line: answers", {preferred, others, even}))) +
         card(chart_svg(histograms("Margins", "difference of the rewards; line: rows", {margins, differences}))) +
         card("<h3>Rewards</h3>" + table({}, facts)) + "</div>";
}

}  // namespace gavel::html
