#include "model/combine.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "spec/family.h"

namespace gavel {
namespace {

DecoderSpec tiny_spec() {
  ModelConfig c;
  c.vocab_size = 11;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 4;
  return decoder_spec(c);
}

LoadedAdapterWeights random_adapter(int64_t r, double alpha, bool rslora, uint64_t seed) {
  LoadedAdapterWeights out;
  out.config.lora = {r, alpha, 0, {"v_proj", "o_proj"}, rslora};
  Random random(seed);
  for (const auto& parameter : trainable_layout(tiny_spec(), out.config.lora, 3).parameters) {
    HostTensor value(DType::kF32, parameter.shape);
    for (float& x : value.as_mutable<float>()) x = static_cast<float>(random.uniform() - 0.5);
    out.values.push_back(std::move(value));
  }
  return out;
}

/** scaling * B A of one layer and one pair of tensors. */
std::vector<double> product(const LoadedAdapterWeights& adapter, size_t index, size_t layer) {
  const HostTensor &a = adapter.values[index], &b = adapter.values[index + 1];
  auto r = static_cast<size_t>(a.shape()[1]), in = static_cast<size_t>(a.shape()[2]),
       out = static_cast<size_t>(b.shape()[1]);
  auto a_values = a.as<float>().subspan(layer * r * in), b_values = b.as<float>().subspan(layer * out * r);
  std::vector<double> whole(out * in);
  for (size_t o = 0; o < out; ++o)
    for (size_t i = 0; i < in; ++i)
      for (size_t k = 0; k < r; ++k)
        whole[o * in + i] += adapter.config.lora.scaling() * b_values[o * r + k] * a_values[k * in + i];
  return whole;
}

TEST(AverageAdapters, ExactIsTheMeanOfTheProductsWhateverRankAndScaling) {
  std::vector<LoadedAdapterWeights> adapters = {random_adapter(2, 4, false, 1), random_adapter(3, 5, true, 2),
                                                random_adapter(2, 1, false, 3)};
  LoadedAdapterWeights mean = average_adapters(tiny_spec(), adapters, AverageMethod::kExact);
  EXPECT_EQ(mean.config.lora.r, 7);
  EXPECT_DOUBLE_EQ(mean.config.lora.scaling(), 1);
  for (size_t index = 0; index < 4; index += 2)
    for (size_t layer = 0; layer < 2; ++layer) {
      auto found = product(mean, index, layer);
      for (size_t k = 0; k < found.size(); ++k) {
        double expected = 0;
        for (const auto& adapter : adapters) expected += product(adapter, index, layer)[k] / 3;
        EXPECT_NEAR(found[k], expected, 1e-6);
      }
    }
  for (int k = 0; k < 24; ++k)
    EXPECT_NEAR(mean.values[4].as<float>()[static_cast<size_t>(k)],
                (adapters[0].values[4].as<float>()[static_cast<size_t>(k)] +
                 adapters[1].values[4].as<float>()[static_cast<size_t>(k)] +
                 adapters[2].values[4].as<float>()[static_cast<size_t>(k)]) /
                    3,
                1e-6);
}

TEST(AverageAdapters, FactorsKeepTheRankAndOfEqualAdaptersTheProduct) {
  LoadedAdapterWeights one = random_adapter(2, 4, true, 1);
  LoadedAdapterWeights mean = average_adapters(tiny_spec(), {one, one}, AverageMethod::kFactors);
  EXPECT_EQ(mean.config.lora.r, 2);
  auto expected = product(one, 0, 1), found = product(mean, 0, 1);
  for (size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(found[k], expected[k], 1e-6);
}

TEST(AverageAdapters, WhatDoesNotFitIsRefused) {
  LoadedAdapterWeights one = random_adapter(2, 4, false, 1), two = random_adapter(3, 4, false, 1),
                       other = random_adapter(2, 4, false, 1);
  EXPECT_THROW(average_adapters(tiny_spec(), {one, two}, AverageMethod::kFactors), Error);
  other.config.lora.target_modules = {"q_proj", "o_proj"};
  EXPECT_THROW(average_adapters(tiny_spec(), {one, other}, AverageMethod::kExact), Error);
  EXPECT_THROW(average_adapters(tiny_spec(), {}, AverageMethod::kExact), Error);
  EXPECT_THROW(parse_average_method("exakt"), Error);
}

}  // namespace
}  // namespace gavel
