#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/svg.h"

namespace gavel {

struct LossPlot {
  std::string title = "Loss";
  /** A smaller line below the title: model, data, what was measured. */
  std::string subtitle;
  /** Loss of each step, in the order of the steps. Values that are not finite leave a gap. */
  std::vector<PlotPoint> train;
  /** Loss on the validation rows. */
  std::vector<PlotPoint> valid;
  /** A dashed line to compare with: its height and its name ("guessing"). */
  std::optional<std::pair<double, std::string>> reference;
};

/** The plot as a self-contained SVG that follows the reader's light or dark setting: step loss as a thin
 * line, its moving mean as a thick one, validation losses as points with their values. Single steps
 * far above the rest run off the top, so that they don't flatten the curve. */
std::string loss_svg(const LossPlot& plot);

/** Writes loss_svg's text with AtomicFile. Throws Error naming the file. */
void write_loss_svg(const std::filesystem::path& path, const LossPlot& plot);

}  // namespace gavel
