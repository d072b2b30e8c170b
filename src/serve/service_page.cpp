#include "report/svg.h"
#include "serve/service.h"

namespace gavel {

namespace {

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gavel</title><style>
:root { color-scheme: light dark; --background: #f4f5f8; --card: #ffffff; --text: #1a1f29; --quiet: #5b6472; --line: #d6dae2; --own: #2f6fde;
  --a: #2f6fde; --b: #c2500a; --t: #6b7280; --warn: #b34700; }
@media (prefers-color-scheme: dark) { :root { --background: #101318; --card: #1b1f27; --text: #e7eaf0; --quiet: #a2abb9; --line: #363d4a; --own: #6ea8ff;
  --a: #4f8df0; --b: #d9711f; --t: #7d8694; --warn: #ffb26b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1040px; padding: 24px 20px 60px; background: var(--background); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0; } header p { margin: 2px 0 20px; color: var(--quiet); overflow-wrap: anywhere; }
label { display: block; font-weight: 600; font-size: 14px; margin-bottom: 5px; }
textarea, input { width: 100%; font: inherit; font-size: 15px; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 9px; padding: 10px 12px; }
textarea { resize: vertical; } textarea:focus, input:focus, button:focus-visible { outline: 2px solid var(--own); outline-offset: 1px; }
.answers { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin: 16px 0; }
.row { display: flex; gap: 12px; align-items: end; flex-wrap: wrap; }
.row .token { flex: 1 1 220px; max-width: 340px; }
button { font: inherit; font-weight: 600; border: 0; border-radius: 9px; padding: 11px 26px; background: var(--own); color: #fff; cursor: pointer; }
@media (prefers-color-scheme: dark) { button { color: #10151d; } }
button:disabled { opacity: 0.55; cursor: progress; }
#result { margin-top: 22px; min-height: 130px; } .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; }
.verdict { font-size: 24px; font-weight: 650; margin: 0 0 12px; } .note { color: var(--quiet); font-size: 14px; margin: 12px 0 0; } .error { color: var(--warn); margin: 0; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: 8px 12px; align-items: center; font-size: 15px; font-variant-numeric: tabular-nums; }
.track { height: 16px; border-radius: 5px; background: var(--background); overflow: hidden; } .track i { display: block; height: 100%; border-radius: 5px; }
@media (max-width: 640px) { body { padding: 16px 14px 40px; } .answers { grid-template-columns: 1fr; } button { width: 100%; } }
</style></head>
<body><header><h1>Which answer is better?</h1><p>)";

constexpr const char* kForm = R"(</p></header>
<form id="form">
<label for="prompt">Prompt</label><textarea id="prompt" rows="4" required></textarea>
<div class="answers"><div><label for="a">Answer A</label><textarea id="a" rows="9" required></textarea></div>
<div><label for="b">Answer B</label><textarea id="b" rows="9" required></textarea></div></div>
<div class="row">)";

constexpr const char* kToken =
    R"(<div class="token"><label for="token">Token</label><input id="token" type="password" autocomplete="off"></div>)";

// clang-format off: this is JavaScript.
constexpr const char* kScript = R"page(<button id="go" type="submit">Judge</button></div></form>
<div id="result" aria-live="polite"></div>
<script>
"use strict";
const at = id => document.getElementById(id);
const make = (tag, name, text) => { const e = document.createElement(tag); if (name) e.className = name; if (text !== undefined) e.textContent = text; return e; };
function show(child) { at("result").replaceChildren(child); }
function showError(text) { const card = make("div", "card"); card.append(make("p", "error", text)); show(card); }
function showVerdict(found) {
  const card = make("div", "card");
  card.append(make("p", "verdict", { A: "Answer A is better", B: "Answer B is better", tie: "A tie" }[found.verdict]));
  const bars = make("div", "bars");
  for (const [key, name, color] of [["A", "A is better", "--a"], ["B", "B is better", "--b"], ["tie", "tie", "--t"]]) {
    const percent = (100 * found.probabilities[key]).toFixed(1) + " %";
    const track = make("div", "track"), fill = make("i");
    fill.style.width = percent.replace(" ", "");
    fill.style.background = "var(" + color + ")";
    track.append(fill);
    bars.append(make("span", "", name), track, make("span", "", percent));
  }
  card.append(bars);
  const notes = [];
  if ("agrees" in found)
    notes.push(found.agrees ? "Judged in both orders, with the same outcome."
                            : "Judged in both orders, which disagree: the order of the answers decides.");
  notes.push(found.tokens + " tokens read" + (found.truncated ? ", the rest was cut off." : "."));
  card.append(make("p", "note", notes.join(" ")));
  show(card);
}
at("form").addEventListener("submit", async event => {
  event.preventDefault();
  const headers = { "Content-Type": "application/json" };
  if (at("token")?.value) headers.Authorization = "Bearer " + at("token").value;
  at("go").disabled = true;
  try {
    const body = JSON.stringify({ prompt: at("prompt").value, response_a: at("a").value, response_b: at("b").value });
    const answer = await fetch("v1/judge", { method: "POST", headers, body });
    const found = await answer.json();
    if (answer.ok) showVerdict(found);
    else showError(found.error || "error " + answer.status);
  } catch (error) {
    showError("The service does not answer: " + error.message);
  } finally {
    at("go").disabled = false;
  }
});
</script></body></html>
)page";
// clang-format on

}  // namespace

std::string service_page(const std::string& name, bool needs_token) {
  return kHead + escape_markup(name) + kForm + (needs_token ? kToken : "") + kScript;
}

}  // namespace gavel
