#include "spec/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace gavel {

namespace {

// float32 arithmetic where transformers has float32: an angle is a product with positions up to thousands.

/** Llama 3.1: long wavelengths are stretched by the factor, short ones kept, those between blended. */
float llama3_frequency(float frequency, const RopeScaling& scaling) {
  double wavelength = 2 * std::numbers::pi / frequency;
  auto original = static_cast<double>(scaling.original_max_position_embeddings);
  double low = original / scaling.low_freq_factor, high = original / scaling.high_freq_factor;
  auto stretched = static_cast<float>(frequency / scaling.factor);
  if (wavelength > low) return stretched;
  if (wavelength < high) return frequency;
  auto smooth = static_cast<float>((original / wavelength - scaling.low_freq_factor) /
                                   (scaling.high_freq_factor - scaling.low_freq_factor));
  return (1 - smooth) * stretched + smooth * frequency;
}

/** YaRN's ramp from 0, a frequency that is kept, to 1, one that is stretched. */
class YarnRamp {
 public:
  YarnRamp(const RopeSpec& rope, int64_t head_dim) {
    const RopeScaling& scaling = rope.scaling;
    auto original = static_cast<double>(scaling.original_max_position_embeddings);
    // The pair that turns so many times over the original positions.
    auto pair = [&](double turns) {
      return static_cast<double>(head_dim) * std::log(original / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(rope.rope_theta));
    };
    double low = pair(scaling.beta_fast), high = pair(scaling.beta_slow);
    if (scaling.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(head_dim - 1));
    if (low == high) high += 0.001;
    low_ = static_cast<float>(low);
    width_ = static_cast<float>(high - low);
  }
  float operator()(int64_t pair) const { return std::clamp((static_cast<float>(pair) - low_) / width_, 0.0f, 1.0f); }

 private:
  float low_, width_;
};

float scaled_frequency(float power, int64_t pair, const RopeSpec& rope, int64_t head_dim) {
  const RopeScaling& scaling = rope.scaling;
  const float frequency = 1.0f / power;
  if (scaling.type == "linear") return frequency / static_cast<float>(scaling.factor);
  // A file that lists divisors has worked the rule out.
  if (scaling.type == "llama3" && rope.freq_factors.empty()) return llama3_frequency(frequency, scaling);
  if (scaling.type == "longrope")
    return 1.0f / (static_cast<float>(scaling.short_factor[static_cast<size_t>(pair)]) * power);
  if (scaling.type == "yarn") {
    const float kept = 1 - YarnRamp(rope, head_dim)(pair);
    const float stretched = 1.0f / (static_cast<float>(scaling.factor) * power);
    return stretched * (1 - kept) + frequency * kept;
  }
  return frequency;
}

}  // namespace

std::vector<double> inverse_frequencies(const RopeSpec& rope, int64_t head_dim) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float frequency = scaled_frequency(std::pow(static_cast<float>(rope.rope_theta), exponent), i, rope, head_dim);
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

double rotary_scale(const RopeScaling& scaling) {
  const bool yarn = scaling.type == "yarn";
  if (!yarn && scaling.type != "longrope") return 1;
  if (scaling.attention_factor) return *scaling.attention_factor;
  if (scaling.factor <= 1) return 1;
  const double stretch = std::log(scaling.factor);
  if (!yarn) return std::sqrt(1 + stretch / std::log(static_cast<double>(scaling.original_max_position_embeddings)));
  auto scale = [&](double mscale) { return 0.1 * mscale * stretch + 1; };
  if (scaling.mscale.value_or(0) != 0 && scaling.mscale_all_dim.value_or(0) != 0)
    return scale(*scaling.mscale) / scale(*scaling.mscale_all_dim);
  return scale(1);
}

std::optional<int64_t> longest_text(const RopeScaling& scaling, int64_t max_position_embeddings) {
  if (scaling.type == "dynamic") return max_position_embeddings;
  if (scaling.type == "longrope" && scaling.short_factor != scaling.long_factor)
    return scaling.original_max_position_embeddings;
  return std::nullopt;
}

}  // namespace gavel
