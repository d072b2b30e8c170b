#include "report/html_page.h"

#include <cmath>

#include "base/error.h"
#include "report/table.h"

namespace gavel::html {

namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --background: #f4f5f8; --card: #ffffff; --text: #1a1f29; --quiet: #5b6472; --line: #e3e6ec;
  --good: #2b8a3e; --warn: #b34700; --heat: 47, 111, 222; }
@media (prefers-color-scheme: dark) { :root { --background: #101318; --card: #1b1f27; --text: #e7eaf0; --quiet: #a2abb9; --line: #2e3440;
  --good: #69db7c; --warn: #ffb26b; --heat: 110, 168, 255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1260px; padding: 24px 20px 60px; background: var(--background); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 26px; margin: 0; line-height: 1.25; } h2 { font-size: 19px; margin: 34px 0 12px; } h3 { font-size: 14px; margin: 18px 0 8px; }
.card h3:first-child { margin-top: 0; }
header p { margin: 4px 0 0; color: var(--quiet); }
.quiet { color: var(--quiet); font-weight: 400; font-size: 14px; }
.status { display: inline-block; padding: 0 9px; border-radius: 9px; border: 1px solid currentColor; color: var(--warn); font-size: 13px; }
.status.good { color: var(--good); }
.warning { color: var(--warn); background: var(--card); border-left: 3px solid; padding: 8px 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(145px, 1fr)); gap: 12px; margin-top: 20px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; display: flex; flex-direction: column; }
.tile strong { font-size: 23px; line-height: 1.3; font-variant-numeric: tabular-nums; } .tile span { color: var(--quiet); font-size: 12.5px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(290px, 100%), 1fr)); gap: 14px; margin-top: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; min-width: 0; }
.stack { display: grid; gap: 14px; }
.only-narrow { display: none; }
@media (max-width: 760px) { body { padding: 16px 12px 40px; } .only-wide { display: none; } .only-narrow { display: block; }
  .tiles { grid-template-columns: 1fr 1fr; } .card { padding: 12px; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { color: var(--quiet); font-weight: 500; font-size: 12.5px; } td, th { padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } td:first-child, th:first-child { text-align: left; padding-left: 0; }
table.numbers td:first-child { min-width: 92px; } table.numbers td:not(:first-child), table.numbers th:not(:first-child) { text-align: right; white-space: nowrap; }
table.text td { text-align: left; } table.text th { text-align: left; } table.text td:first-child { white-space: nowrap; color: var(--quiet); padding-right: 16px; }
.any { overflow-wrap: anywhere; white-space: normal; }
.chip { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; background: var(--own); }
pre { margin: 0; max-height: 720px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font: 12.5px ui-monospace, "DejaVu Sans Mono", monospace; }
.confusion { margin-top: 4px; } .confusion td { text-align: center; padding: 11px 6px; border: 2px solid var(--card); border-radius: 8px; }
.confusion td.heat { background: rgba(var(--heat), var(--share)); } .confusion td.hit { outline: 1px solid rgba(var(--heat), 0.9); outline-offset: -3px; }
.confusion th, .confusion td:first-child { text-align: center; border: 0; vertical-align: middle; } .confusion small { display: block; color: var(--quiet); font-size: 12px; }
.rows { display: grid; gap: 8px; }
.row { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 9px 14px; }
.row summary { cursor: pointer; display: grid; grid-template-columns: minmax(90px, 1.2fr) minmax(120px, 2fr) 90px 90px 100px; gap: 4px 14px; align-items: center; list-style: none; }
.row summary::-webkit-details-marker { display: none; } .row .nothing { cursor: default; }
.row summary:not(.nothing) .id::before { content: "▸"; color: var(--quiet); font-weight: 400; margin-right: 8px; } .row[open] summary:not(.nothing) .id::before { content: "▾"; }
.row .id { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row .number { text-align: right; font-variant-numeric: tabular-nums; font-size: 13.5px; white-space: nowrap; } .row .number i { font-style: normal; color: var(--quiet); font-size: 12px; margin-right: 5px; }
@media (max-width: 760px) { .row summary { grid-template-columns: 1fr 1fr 1fr; } .row .id { grid-column: 1 / -1; } .row .bar3 { grid-column: 1 / -1; order: 5; } .row .number { text-align: left; } }
.bar3 { display: flex; height: 18px; border-radius: 5px; overflow: hidden; font-size: 11px; line-height: 18px; color: #fff; text-align: center; }
.bar3 span { overflow: hidden; white-space: nowrap; } .bar3 .a { background: #2f6fde; } .bar3 .b { background: #c2500a; } .bar3 .t { background: #6b7280; }
.texts { margin: 10px 0 2px; display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); }
.texts div { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13.5px; } .texts b { display: block; color: var(--quiet); font-size: 12px; font-weight: 600; }
footer { margin-top: 40px; color: var(--quiet); font-size: 13px; }
)";

}  // namespace

std::string cell(const std::string& text) {
  return "<span class=\"any\">" + escape_markup(text) + "</span>";
}

std::string number(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  if (std::abs(value) >= 1000) return format_count(std::llround(value));
  return fmt::format("{:.{}f}", value, decimals);
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                  Columns columns) {
  std::string out =
      fmt::format("<div class=\"scroll\"><table class=\"{}\">", columns == Columns::kNumbers ? "numbers" : "text");
  if (!header.empty()) {
    out += "<thead><tr>";
    for (const std::string& name : header) out += "<th>" + name + "</th>";
    out += "</tr></thead>";
  }
  out += "<tbody>";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const std::string& content : row) out += "<td>" + content + "</td>";
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string card(const std::string& content_html) {
  return "<div class=\"card\">" + content_html + "</div>";
}

std::string section(const std::string& title_html, const std::string& content_html) {
  return "<section><h2>" + title_html + "</h2>" + content_html + "</section>\n";
}

std::string page(const std::string& title, const std::string& under_title_html, const std::string& body_html,
                 bool reloads) {
  std::string safe = escape_markup(title);
  std::string out = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">";
  // Whatever a data file holds, the page runs nothing and fetches nothing.
  out +=
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">";
  if (reloads) out += "<meta http-equiv=\"refresh\" content=\"30\">";
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Gavel: " + safe +
         "</title><style>";
  out += kStyle;
  out += chart_style();
  out += "</style></head>\n<body><header><h1>" + safe + "</h1><p>" + under_title_html + "</p></header>\n";
  out += body_html;
  return out +
         "<footer>Written by Gavel. This page is complete in itself: it loads and runs "
         "nothing.</footer></body></html>\n";
}

}  // namespace gavel::html
