#include "serve/paired_texts.h"

namespace gavel {

namespace {

bool stands_alone(const PreferenceRow& row) {
  return row.written_out && row.response_a == row.response_b;
}

/** The verdict on a text that stood on one side of a pair. */
Verdict verdict_of_side(const Verdict& pair, size_t side) {
  Verdict verdict = pair;
  const double reward = pair.rewards.value()[side];
  verdict.rewards = Rewards{reward, reward};
  verdict.length = verdict.full_length = verdict.length_b = side == 0 ? pair.length : pair.length_b;
  return verdict;
}

}  // namespace

JudgeFunction with_paired_texts(JudgeFunction judge) {
  return [judge = std::move(judge)](std::span<const PreferenceRow> rows) {
    struct Place {
      size_t row;
      std::optional<size_t> side;  // none: the row as it came
    };
    std::vector<PreferenceRow> asked;
    std::vector<Place> places;
    constexpr size_t kNone = SIZE_MAX;
    size_t half = kNone;  // a row with room on its other side
    for (const PreferenceRow& row : rows) {
      if (!stands_alone(row)) {
        places.push_back({asked.size(), std::nullopt});
        asked.push_back(row);
      } else if (half != kNone) {
        asked[half].response_b = row.response_a;
        places.push_back({half, 1});
        half = kNone;
      } else {
        half = asked.size();
        places.push_back({asked.size(), 0});
        asked.push_back(row);
      }
    }
    const std::vector<Verdict> found = judge(asked);
    std::vector<Verdict> verdicts;
    for (const Place& place : places)
      verdicts.push_back(place.side ? verdict_of_side(found[place.row], *place.side) : found[place.row]);
    return verdicts;
  };
}

JudgeFunction with_written_texts(JudgeFunction judge, JudgeFunction one_order) {
  return [judge = std::move(judge), one_order = std::move(one_order)](std::span<const PreferenceRow> rows) {
    std::vector<PreferenceRow> pairs, texts;
    for (const PreferenceRow& row : rows) (row.written_out ? texts : pairs).push_back(row);
    if (texts.empty()) return judge(rows);
    std::vector<Verdict> of_pairs, of_texts = one_order(texts);
    if (!pairs.empty()) of_pairs = judge(pairs);
    std::vector<Verdict> verdicts;
    size_t pair = 0, text = 0;
    for (const PreferenceRow& row : rows) verdicts.push_back(row.written_out ? of_texts[text++] : of_pairs[pair++]);
    return verdicts;
  };
}

}  // namespace gavel
