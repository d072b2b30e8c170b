#include "compare/judge_pairs.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "report/table.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

size_t largest(const Outcome& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

/** The outcome of the pair itself, of that with A and B exchanged. */
std::optional<size_t> as_of_the_pair(std::optional<size_t> outcome) {
  return outcome && *outcome < 2 ? 1 - *outcome : outcome;
}

/** NaN of none. */
double quantile(const std::vector<double>& rising, double share) {
  if (rising.empty()) return std::nan("");
  return rising[static_cast<size_t>(std::lround(share * static_cast<double>(rising.size() - 1)))];
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? std::nan("") : sum / static_cast<double>(values.size());
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

Json opinion_json(const Opinion& opinion) {
  const auto name = [](std::optional<size_t> outcome) { return outcome ? Json(kOutcomes[*outcome]) : Json(); };
  Json json = {
      {"verdict", name(opinion.verdict)}, {"in_order", name(opinion.in_order)}, {"exchanged", name(opinion.exchanged)}};
  if (opinion.probabilities) json["probabilities"] = *opinion.probabilities;
  return json;
}

Json judged_json(const JudgedPairs& judged, std::span<const Votes> votes) {
  Json json = {{"judge", judged.name}};
  json.update(opinion_scores_json(score_opinions(judged.opinions, votes)));
  const auto pairs = static_cast<double>(judged.opinions.size());
  json["seconds"] = judged.seconds;
  json["seconds_per_pair"] = judged.seconds / pairs;
  json["prompt_tokens"] = judged.prompt_tokens;
  json["completion_tokens"] = judged.completion_tokens;
  if (judged.requests > 0)
    json["requests"] = {{"sent", judged.requests},
                        {"retried", judged.retried},
                        {"failed", judged.failed},
                        {"unreadable", judged.unreadable},
                        {"seconds_mean", number(mean(judged.latencies))},
                        {"seconds_half", number(quantile(judged.latencies, 0.5))},
                        {"seconds_95", number(quantile(judged.latencies, 0.95))}};
  return json;
}

}  // namespace

JudgedPairs judge_pairs(Judge& judge, std::span<const PreferenceRow> rows, bool both_orders, const PairsDone& done) {
  JudgedPairs judged;
  const double begin = steady_seconds();
  const std::vector<Verdict> verdicts = judge.judge(rows, both_orders ? 1 : 0, done);
  judged.seconds = steady_seconds() - begin;
  for (const Verdict& verdict : verdicts) {
    Opinion& opinion = judged.opinions.emplace_back();
    opinion.in_order = largest(verdict.logits);
    if (verdict.swapped_logits) opinion.exchanged = largest(*verdict.swapped_logits);
    opinion.verdict = verdict.best();
    opinion.probabilities = verdict.probabilities;
    judged.prompt_tokens += (verdict.length + verdict.length_b) * (verdict.swapped_logits ? 2 : 1);
  }
  return judged;
}

JudgedPairs judge_pairs(const ChatJudge& judge, std::span<const PreferenceRow> rows, bool both_orders,
                        const PairsDone& done) {
  JudgedPairs judged;
  const size_t orders = both_orders ? 2 : 1;
  std::vector<std::string> questions;
  for (const PreferenceRow& row : rows) {
    questions.push_back(render_question(judge.question, row));
    if (both_orders) questions.push_back(render_question(judge.question, swapped(row)));
  }
  const double begin = steady_seconds();
  const std::vector<ChatReply> replies = ask_chat(judge.endpoint, questions, [&](size_t answered) {
    if (done) done(static_cast<int64_t>(answered / orders));
  });
  judged.seconds = steady_seconds() - begin;
  const auto outcome_of = [&](const ChatReply& reply) -> std::optional<size_t> {
    ++judged.requests;
    judged.retried += reply.attempts > 1;
    if (!reply.error.empty()) {
      ++judged.failed;
      return std::nullopt;
    }
    judged.latencies.push_back(reply.seconds);
    judged.prompt_tokens += reply.prompt_tokens;
    judged.completion_tokens += reply.completion_tokens;
    const auto outcome = read_verdict(reply.text);
    if (!outcome) ++judged.unreadable;
    return outcome;
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    Opinion& opinion = judged.opinions.emplace_back();
    opinion.verdict = opinion.in_order = outcome_of(replies[i * orders]);
    if (!both_orders) continue;
    opinion.exchanged = as_of_the_pair(outcome_of(replies[i * orders + 1]));
    if (!opinion.exchanged)
      opinion.verdict.reset();
    else if (opinion.in_order && opinion.in_order != opinion.exchanged)
      opinion.verdict = 2;
  }
  std::ranges::sort(judged.latencies);
  return judged;
}

std::string format_comparison(const JudgedPairs& first, const JudgedPairs& second, std::span<const Votes> votes) {
  const std::array<const JudgedPairs*, 2> both = {&first, &second};
  const std::array<OpinionScores, 2> scores = {score_opinions(first.opinions, votes),
                                               score_opinions(second.opinions, votes)};
  std::vector<std::vector<std::string>> table;
  const auto add = [&](const char* name, const auto& text) {
    table.push_back({name, text(*both[0], scores[0]), text(*both[1], scores[1])});
  };
  const auto shown = [](double value, const char* unit = "") {
    return std::isfinite(value) ? fmt::format("{:.4f}{}", value, unit) : std::string("–");
  };
  const auto percent = [](int64_t part, int64_t all) {
    return all == 0 ? std::string("–")
                    : fmt::format("{:.2f} %", 100.0 * static_cast<double>(part) / static_cast<double>(all));
  };
  const bool voted = std::ranges::any_of(votes, [](const Votes& one) { return one.has_value(); });
  if (voted) {
    add("accuracy", [&](const JudgedPairs&, const OpinionScores& of) { return shown(of.accuracy); });
    add("  of pairs", [&](const JudgedPairs&, const OpinionScores& of) { return format_count(of.voted); });
    add("log loss", [&](const JudgedPairs&, const OpinionScores& of) { return shown(of.log_loss); });
  }
  add("verdicts A, B, tie", [&](const JudgedPairs&, const OpinionScores& of) {
    return fmt::format("{}, {}, {}", of.verdicts[0], of.verdicts[1], of.verdicts[2]);
  });
  add("no verdict", [&](const JudgedPairs&, const OpinionScores& of) { return format_count(of.without_verdict); });
  add("flip rate", [&](const JudgedPairs&, const OpinionScores& of) { return percent(of.flipped, of.both_ways); });
  add("prefers what is shown first", [&](const JudgedPairs&, const OpinionScores& of) {
    return percent(of.first_preferred, of.first_preferred + of.second_preferred);
  });
  add("seconds a pair", [&](const JudgedPairs& of, const OpinionScores& scored) {
    return shown(of.seconds / static_cast<double>(scored.rows));
  });
  add("tokens read a pair", [&](const JudgedPairs& of, const OpinionScores& scored) {
    return fmt::format("{:.1f}", static_cast<double>(of.prompt_tokens) / static_cast<double>(scored.rows));
  });
  add("tokens written a pair", [&](const JudgedPairs& of, const OpinionScores& scored) {
    return fmt::format("{:.1f}", static_cast<double>(of.completion_tokens) / static_cast<double>(scored.rows));
  });
  if (first.requests + second.requests > 0) {
    add("request, half and 95 %", [&](const JudgedPairs& of, const OpinionScores&) {
      return of.latencies.empty()
                 ? std::string("–")
                 : fmt::format("{:.3f} s, {:.3f} s", quantile(of.latencies, 0.5), quantile(of.latencies, 0.95));
    });
    add("requests retried, failed, unreadable", [&](const JudgedPairs& of, const OpinionScores&) {
      return of.requests == 0 ? std::string("–") : fmt::format("{}, {}, {}", of.retried, of.failed, of.unreadable);
    });
  }
  return fmt::format(
      "{} pairs, {} with votes\n\n{}\n{}", format_count(static_cast<int64_t>(votes.size())),
      format_count(std::ranges::count_if(votes, [](const Votes& one) { return one.has_value(); })),
      format_table({"", "1", "2"}, table, {Align::kLeft, Align::kRight, Align::kRight}),
      format_agreement(compare_opinions(first.opinions, second.opinions, votes), {first.name, second.name}));
}

nlohmann::ordered_json comparison_json(const JudgedPairs& first, const JudgedPairs& second,
                                       std::span<const Votes> votes) {
  return {{"pairs", votes.size()},
          {"judges", Json::array({judged_json(first, votes), judged_json(second, votes)})},
          {"agreement", agreement_json(compare_opinions(first.opinions, second.opinions, votes))}};
}

std::string opinions_jsonl(const JudgedPairs& first, const JudgedPairs& second, std::span<const PreferenceRow> rows) {
  std::string text;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json line = {{"id", rows[i].id},
                       {"row", rows[i].source_row},
                       {"judges", Json::array({opinion_json(first.opinions[i]), opinion_json(second.opinions[i])})}};
    text += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  return text;
}

}  // namespace gavel
