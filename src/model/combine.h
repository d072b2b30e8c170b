#pragma once
#include <filesystem>
#include <string_view>
#include <vector>

#include "io/model_files.h"
#include "model/adapter.h"

namespace gavel {

/** Writes base + scaling * B A (with use_dora each row scaled to its magnitude), and the head as score.weight, as a
 * folder that transformers opens as the family's
 * …ForSequenceClassification with no adapter. Sums are made in float32 from the base as a judge holds it
 * (`held`; of a quantised base from the numbers that its codes mean), then written in `dtype`: with float32 the logits are
 * the judge's own up to rounding. */
void merge_adapter(const ModelFiles& files, const BaseStorage& held, const LoadedAdapterWeights& adapter,
                   const std::filesystem::path& folder, DType dtype);

enum class AverageMethod : uint8_t {
  /** The mean of the products B A, exactly: A's are stacked and B's set side by side, so the rank is the sum
     of ranks. */
  kExact,
  /** The means of A and of B, which keep the rank. Their product is not the mean of the products (it has
   * cross terms), so this is for adapters that went from one start and stayed near each other; all need the
   * same rank. */
  kFactors,
};
/** "exact" or "factors". */
AverageMethod parse_average_method(std::string_view name);

/** One adapter (of a model `spec`) whose update of every weight is the mean of the given ones' (kExact: "model
 * soups", Wortsman
 * et al., 2022), and the mean of the heads. Its scaling is 1. Throws when target modules, labels or shapes
 * differ, or with use_dora, whose updates have no mean of that form. */
LoadedAdapterWeights average_adapters(const DecoderSpec& spec, const std::vector<LoadedAdapterWeights>& adapters,
                                      AverageMethod method);

}  // namespace gavel
