#include "report/html_rows.h"

#include "base/error.h"
#include "report/html_page.h"
#include "report/table.h"

namespace gavel::html {

std::string confusion_table(const Scores& scores) {
  std::string out = "<h3>Confusion matrix</h3><table class=\"confusion\"><thead><tr><th>label</th>";
  for (const char* name : kOutcomes) out += fmt::format("<th>judged {}</th>", name);
  out += "</tr></thead><tbody>";
  for (size_t label = 0; label < 3; ++label) {
    out += fmt::format("<tr><th>{}</th>", kOutcomes[label]);
    for (size_t verdict = 0; verdict < 3; ++verdict) {
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
  for (size_t i = 0; i < 3; ++i) {
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

std::string row_list(const std::vector<JudgedRow>& rows, const std::map<int64_t, RowTexts>& texts) {
  constexpr const char* kClasses[] = {"a", "b", "t"};
  std::string out = "<div class=\"rows\">";
  for (const JudgedRow& row : rows) {
    std::string bar;
    for (size_t i = 0; i < 3; ++i) {
      double percent = 100 * row.probabilities[i];
      bar += fmt::format("<span class=\"{}\" style=\"width: {:.1f}%\">{}</span>", kClasses[i], percent,
                         percent >= 14 ? fmt::format("{} {:.0f} %", kOutcomes[i], percent) : "");
    }
    bool soft = row.label[row.truth()] < 0.999;
    std::string label = soft ? fmt::format("{:.2f} / {:.2f} / {:.2f}", row.label[0], row.label[1], row.label[2])
                             : kOutcomes[row.truth()];
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
    for (const auto& [name, text] :
         {std::pair{"prompt", &own.prompt}, {"answer A", &own.response_a}, {"answer B", &own.response_b}})
      out += fmt::format("<div><b>{}</b>{}</div>", name, escape_markup(*text));
    out += "</div></details>";
  }
  return out + "</div>";
}

}  // namespace gavel::html
