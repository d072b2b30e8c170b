#include "train/validation_rows.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace gavel {

void write_validation_rows(const std::filesystem::path& path, int64_t step, const TokenizedDataset& dataset,
                           const Judgement& judgement) {
  AtomicFile file(path);
  for (int64_t row = 0; row < dataset.num_rows(); ++row) {
    const auto& probabilities = judgement.probabilities[static_cast<size_t>(row)];
    auto label = dataset.label(row);
    double loss = 0;
    for (size_t i = 0; i < label.size(); ++i)
      if (label[i] > 0) loss -= label[i] * std::log(probabilities[i]);
    nlohmann::ordered_json line = {{"step", step},   {"row", dataset.source_row(row)},
                                   {"label", label}, {"probabilities", probabilities},
                                   {"loss", loss},   {"tokens", dataset.length(row)}};
    file.write(line.dump() + "\n");
  }
  file.commit();
}

}  // namespace gavel
