#pragma once
#include <array>
#include <vector>

#include "baseline/pair_logistic.h"
#include "rows/preferences.h"

namespace gavel {

/** Of answer A minus answer B: their sign changes when the two are exchanged. */
inline constexpr std::array kLeadFeatures = {"length",      "last length", "words",   "lines",        "lists",
                                             "code blocks", "headings",    "bold",    "numbers",      "refusal",
                                             "empty",       "questions",   "cut off", "word variety", "of the prompt"};
/** Of the pair: the same in either order. */
inline constexpr std::array kTieFeatures = {
    "prompt length", "turns",        "mean length", "length distance",    "identical",     "both refuse",
    "one refuses",   "shared words", "code",        "last prompt length", "list distance", "short"};

/** What shows of a pair without reading it: lengths (as logarithms), turns, lists, code blocks, headings, bold,
 * refusals, empty and identical answers; what public arenas call style. */
struct SurfaceFeatures {
  std::array<float, kLeadFeatures.size()> lead{};
  std::array<float, kTieFeatures.size()> tie{};
};

SurfaceFeatures surface_features(const PreferenceRow& row);

/** Words of answer A minus words of answer B, in kWordBuckets buckets by their hash; a word counts once an answer. */
inline constexpr uint32_t kWordBuckets = 1 << 15;
std::vector<Term> word_terms(const PreferenceRow& row);

}  // namespace gavel
