#include "spec/rope.h"

#include <cmath>
#include <numbers>

namespace gavel {

std::vector<double> inverse_frequencies(const RopeSpec& rope, int64_t head_dim) {
  // float32 arithmetic where transformers has float32: an angle is a product with positions up to thousands.
  const RopeScaling& scaling = rope.scaling;
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float frequency = 1.0f / std::pow(static_cast<float>(rope.rope_theta), exponent);
    if (scaling.type == "linear") {
      frequency /= static_cast<float>(scaling.factor);
    } else if (scaling.type == "llama3" && rope.freq_factors.empty()) {
      // Long wavelengths are stretched by the factor, short ones kept, those between blended (Llama 3.1).
      double wavelength = 2 * std::numbers::pi / frequency;
      auto original = static_cast<double>(scaling.original_max_position_embeddings);
      double low = original / scaling.low_freq_factor, high = original / scaling.high_freq_factor;
      auto stretched = static_cast<float>(frequency / scaling.factor);
      if (wavelength > low) {
        frequency = stretched;
      } else if (wavelength >= high) {
        auto smooth = static_cast<float>((original / wavelength - scaling.low_freq_factor) /
                                         (scaling.high_freq_factor - scaling.low_freq_factor));
        frequency = (1 - smooth) * stretched + smooth * frequency;
      }
    }
    if (!rope.freq_factors.empty()) frequency /= rope.freq_factors[static_cast<size_t>(i)];
    frequencies.push_back(frequency);
  }
  return frequencies;
}

std::vector<double> frequency_divisors(const RopeSpec& rope, int64_t head_dim) {
  std::vector<double> plain = inverse_frequencies({rope.rope_theta, {}, {}}, head_dim),
                      scaled = inverse_frequencies(rope, head_dim);
  for (size_t i = 0; i < plain.size(); ++i) plain[i] /= scaled[i];
  return plain;
}

}  // namespace gavel
