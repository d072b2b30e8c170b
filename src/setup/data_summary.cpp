#include "setup/data_summary.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/utf8.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 3> kOutcomes = {"A wins", "B wins", "tie"};

DataSummary::Side summarize_side(const TokenizedRows& rows) {
  std::vector<int64_t> turns(rows.turns.begin(), rows.turns.end());
  return {dataset_statistics(rows.tokens), describe(turns)};
}

std::vector<DataSummary::Example> pick_examples(const TokenizedRows& rows, const Tokenizer& tokenizer, int64_t wanted) {
  const int64_t count = rows.tokens.num_rows();
  wanted = std::min(wanted, count);
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rows.tokens.full_length(a) < rows.tokens.full_length(b); });
  std::vector<DataSummary::Example> out;
  for (int64_t i = 0; i < wanted; ++i) {
    int64_t row = order[static_cast<size_t>(wanted == 1 ? count / 2 : i * (count - 1) / (wanted - 1))];
    out.push_back({rows.tokens.source_row(row), rows.tokens.label(row), rows.turns[static_cast<size_t>(row)],
                   rows.tokens.length(row), rows.tokens.full_length(row), tokenizer.decode(rows.tokens.tokens(row))});
  }
  return out;
}

std::string label_text(const std::array<float, 3>& label) {
  for (size_t i = 0; i < 3; ++i)
    if (label[i] == 1) return kOutcomes[i];
  if (label[0] + label[1] + label[2] == 0) return "no label";
  return fmt::format("A {:.3g}, B {:.3g}, tie {:.3g}", label[0], label[1], label[2]);
}

/** The text's start and end, for the terminal: nothing in it can move the cursor or change colours. */
std::string excerpt(std::string_view text) {
  constexpr size_t kStart = 360, kEnd = 180;
  std::string cut;
  if (text.size() > kStart + kEnd + 40) {
    // Bytes that a cut character leaves are removed by hand: they were no mistake of the file.
    auto is_middle = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80; };
    size_t start = kStart, end = text.size() - kEnd;
    while (is_middle(start)) --start;
    while (is_middle(end)) ++end;
    cut = fmt::format("{} [… {} bytes …] {}", text.substr(0, start), end - start, text.substr(end));
    text = cut;
  }
  std::string out = "  | ";
  for (char c : text) {
    if (c == '\n')
      out += "\n  | ";
    else if (c == '\t' || (static_cast<uint8_t>(c) >= 0x20 && c != 0x7F))
      out.push_back(c);
    else
      append_utf8(out, 0xFFFD);
  }
  return out + "\n";
}

Json to_json(const Distribution& values) {
  Json out = {{"count", values.count}};
  for (auto [name, value] : values.measures()) out[std::string(name)] = value;
  return out;
}

Json to_json(const CleaningReport& report) {
  Json oddities = Json::object();
  for (size_t i = 0; i < kNumOddities; ++i) {
    const auto& entry = report.entries[i];
    oddities[std::string(oddity_key(static_cast<Oddity>(i)))] = {{"rows", entry.rows},
                                                                 {"occurrences", entry.occurrences},
                                                                 {"dropped", entry.dropped},
                                                                 {"first_rows", entry.first_rows}};
  }
  return {{"rows_read", report.rows_read}, {"rows_kept", report.rows_kept}, {"oddities", oddities}};
}

Json to_json(const DataSummary::Side& side) {
  const DatasetStatistics& s = side.statistics;
  Json bins = Json::array();
  for (const auto& bin : s.histogram.bins) bins.push_back({{"from", bin.from}, {"to", bin.to}, {"rows", bin.count}});
  return {{"rows", s.rows},
          {"labels",
           {{"a", s.labels.sums[0]},
            {"b", s.labels.sums[1]},
            {"tie", s.labels.sums[2]},
            {"labelled", s.labels.labelled},
            {"unlabelled", s.labels.unlabelled}}},
          {"turns", to_json(side.turns)},
          {"tokens", to_json(s.full_lengths)},
          {"tokens_after_truncation", to_json(s.lengths)},
          {"cut", {{"rows", s.cut_rows}, {"share", s.cut_share()}}},
          {"histogram", bins}};
}

std::string format_side(const DataSummary::Side& side, int64_t max_length) {
  const DatasetStatistics& s = side.statistics;
  std::string out = fmt::format(
      "{}rounds and tokens per row\n{}", s.labels.format(),
      format_distributions({{"tokens", s.full_lengths}, {"tokens kept", s.lengths}, {"rounds", side.turns}}));
  out += fmt::format("{} rows ({:.1f} %) cut by max_length {}\ntokens per row, before truncation\n{}", s.cut_rows,
                     100 * s.cut_share(), max_length, s.histogram.format());
  return out;
}

}  // namespace

std::string DataSummary::format() const {
  std::string out = fmt::format("{}{}\n{}", file, from_cache ? " (tokens from the cache)" : "", report.format());
  out += fmt::format("\n{}: {}\n{}", valid ? "training rows" : "rows", train.statistics.rows,
                     format_side(train, max_length));
  if (valid) {
    if (valid_report) out += fmt::format("\n{}\n{}", valid_file, valid_report->format());
    out += fmt::format("\nvalidation rows: {} ({} share a prompt with training rows)\n{}", valid->statistics.rows,
                       shared_prompts, format_side(*valid, max_length));
  }
  out += fmt::format("\npadding of an epoch in steps of {} rows\n{}", rows_per_step, waste.format());
  for (const Example& example : examples) {
    out += fmt::format("\nrow {}: {}, {} {}, {} tokens", example.source_row, label_text(example.label), example.turns,
                       example.turns == 1 ? "round" : "rounds", example.full_tokens);
    if (example.full_tokens > example.tokens) out += fmt::format(", cut to {}", example.tokens);
    out += '\n' + excerpt(example.text);
  }
  return out;
}

std::string DataSummary::to_json() const {
  using gavel::to_json;
  Json out = {{"file", file}, {"cleaning", to_json(report)}, {"max_length", max_length}, {"train", to_json(train)}};
  if (valid) {
    out["valid"] = to_json(*valid);
    if (valid_report) {
      out["valid_file"] = valid_file;
      out["valid_cleaning"] = to_json(*valid_report);
    }
    out["shared_prompts"] = shared_prompts;
  }
  Json padding = Json::array();
  for (const auto& line : waste.lines)
    padding.push_back({{"batching", line.name},
                       {"tokens", line.waste.tokens},
                       {"real_tokens", line.waste.real_tokens},
                       {"wasted", line.waste.wasted()},
                       {"programs", line.shapes}});
  out["rows_per_step"] = rows_per_step;
  out["padding"] = padding;
  Json rows = Json::array();
  for (const Example& e : examples)
    rows.push_back({{"row", e.source_row},
                    {"label", e.label},
                    {"rounds", e.turns},
                    {"tokens", e.full_tokens},
                    {"tokens_after_truncation", e.tokens},
                    {"text", e.text}});
  out["examples"] = rows;
  return out.dump(2);
}

DataSummary summarize(const Recipe& recipe, const RunData& data, const Tokenizer& tokenizer, int64_t num_examples) {
  DataSummary out;
  out.file = recipe.data.train.text();
  out.report = data.train_report;
  out.from_cache = data.from_cache;
  out.train = summarize_side(data.train);
  out.valid_report = data.valid_report;
  if (data.valid_report) out.valid_file = std::get<std::string>(recipe.data.valid);
  if (data.valid) out.valid = summarize_side(*data.valid);
  out.shared_prompts = data.shared_prompts;
  out.max_length = recipe.data.max_length;
  BatchOptions options = batch_options(recipe, device_traits(recipe.device, true));
  options.swap = Swap::kNone;
  out.rows_per_step = options.batch_size * options.gradient_accumulation;
  out.waste = padding_waste(data.train.tokens, options);
  out.examples = pick_examples(data.train, tokenizer, num_examples);
  return out;
}

}  // namespace gavel
