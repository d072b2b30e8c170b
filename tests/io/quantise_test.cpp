// Quantised weights against plain forms of their definitions, bit for bit.
#include "io/quantise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/nf4.h"
#include "io/expect_error.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "io/sample_files.h"
#include "spec/family.h"

namespace gavel {
namespace {

using Codes = Quantisation::Codes;

const Quantisation kAll[] = {{Codes::kInt8, 32}, {Codes::kInt8, 64}, {Codes::kInt8, 128}, {Codes::kNf4, 64}};

/** Groups of many sizes of number, one of zeros, one of numbers too small to be scaled, one with two of the same size. */
HostTensor weights(int64_t out, int64_t in, int64_t group) {
  HostTensor tensor(DType::kF32, {out, in});
  auto values = tensor.as_mutable<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t at = i / static_cast<size_t>(group);
    const double size = at % 7 == 3 ? 0 : at % 7 == 5 ? 1e-40 : std::pow(10.0, static_cast<double>(at % 11) - 7);
    values[i] = static_cast<float>(size * (2 * random_uniform(91, i) - 1));
  }
  values[0] = -1;
  values[1] = 1;
  return tensor;
}

/** The least bfloat16 that is at least `value`. */
float next_bf16(float value) {
  auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  if (bf16_to_f32(bits) < value) ++bits;
  return bf16_to_f32(bits);
}

/** The number that stands for `value` in a group whose largest magnitude is `largest`, by the definition. */
float held_number(float value, float largest, const Quantisation& how) {
  if (how.codes == Codes::kInt8) {
    float scale = largest / 127;
    if (scale < std::numeric_limits<float>::min()) return 0;
    if (how.group > 32) scale = next_bf16(scale);
    const float code = std::nearbyint(value / scale);
    EXPECT_LE(std::fabs(code), 127);
    // Half a step, and what the division rounds off.
    EXPECT_LE(std::fabs(double{value} - double{code} * scale), 0.5001 * scale);
    return code * scale;
  }
  if (largest < std::numeric_limits<float>::min()) return 0;
  const double share = value * (1 / largest);
  float nearest = kNf4Values[0];
  for (float candidate : kNf4Values)
    if (std::fabs(candidate - share) < std::fabs(nearest - share)) nearest = candidate;
  return nearest * largest;
}

TEST(Quantise, NumbersAreThoseOfTheDefinitionBitForBit) {
  for (const Quantisation& how : kAll) {
    SCOPED_TRACE((BaseStorage{DType::kBF16, how}.describe()));
    const HostTensor weight = weights(37, 3 * how.group, how.group);
    const QuantisedWeight held = quantise(weight, how);
    EXPECT_EQ(held.codes.dtype(), how.codes_type());
    EXPECT_EQ(held.scales.dtype(), how.scales_type());
    const HostTensor found = dequantise(held, how);
    const auto from = weight.as<float>(), to = found.as<float>();
    ASSERT_EQ(found.shape(), weight.shape());
    size_t different = 0;
    for (size_t first = 0; first < from.size(); first += static_cast<size_t>(how.group)) {
      float largest = 0;
      for (float value : from.subspan(first, static_cast<size_t>(how.group)))
        largest = std::max(largest, std::fabs(value));
      for (size_t i = first; i < first + static_cast<size_t>(how.group); ++i) {
        const float wanted = held_number(from[i], largest, how);
        different += wanted == to[i] ? 0 : 1;  // 0 and -0 are the same weight
      }
    }
    EXPECT_EQ(different, 0u);
    // Again the same bytes, and what is held stays what it is.
    const QuantisedWeight again = quantise(weight, how);
    EXPECT_EQ(std::memcmp(held.codes.data(), again.codes.data(), held.codes.bytes()), 0);
    EXPECT_EQ(std::memcmp(held.scales.data(), again.scales.data(), held.scales.bytes()), 0);
  }
}

TEST(Quantise, LiesInMemoryAsItsTypeSays) {
  HostTensor weight(DType::kF32, {1, 64});
  auto values = weight.as_mutable<float>();
  values[0] = 127;
  values[1] = -64;
  values[2] = 1.5f;  // a tie: to even
  const QuantisedWeight int8 = quantise(weight, {Codes::kInt8, 64});
  EXPECT_EQ(int8.scales.as<uint16_t>()[0], f32_to_bf16(1));
  EXPECT_EQ(int8.codes.as<int8_t>()[0], 127);
  EXPECT_EQ(int8.codes.as<int8_t>()[1], -64);
  EXPECT_EQ(int8.codes.as<int8_t>()[2], 2);
  const QuantisedWeight nf4 = quantise(weight, {Codes::kNf4, 64});
  EXPECT_EQ(nf4.codes.shape(), (Shape{1, 32}));
  EXPECT_EQ(nf4.scales.as<float>()[0], 127);
  // 1 is code 15, -64 / 127 is nearest to code 2, what is near zero is code 7.
  EXPECT_EQ(nf4.codes.as<uint8_t>()[0], 0xf2);
  EXPECT_EQ(nf4.codes.as<uint8_t>()[1], 0x77);
}

TEST(Quantise, RefusesWhatIsNoMatrixOfWholeGroups) {
  const HostTensor odd(DType::kF32, {4, 96}), vector(DType::kF32, {64});
  expect_error([&] { quantise(odd, {Codes::kInt8, 64}); }, {"[4, 96]", "64"});
  expect_error([&] { quantise(vector, {Codes::kInt8, 64}); }, {"[64]"});
  const TensorSpec weight =
      standard::linear("mlp.down_proj", "ffn_down", 8, Dimension::kHidden, 96, Dimension::kIntermediate, false).weight;
  expect_error([&] { held_as(weight, {DType::kBF16, Quantisation{Codes::kInt8, 64}}); },
               {"down_proj", "96 inputs", "model.group_size"});
  EXPECT_EQ(held_as(weight, {DType::kBF16, {}}).size(), 1u);
  const auto held = held_as(weight, {DType::kBF16, Quantisation{Codes::kNf4, 32}});
  ASSERT_EQ(held.size(), 2u);
  EXPECT_EQ(held[0].spec.shape, (Shape{8, 48}));
  EXPECT_EQ(held[1].spec.shape, (Shape{8, 3}));
  EXPECT_EQ(held[1].spec.name, weight.name + "_scale");
}

/** tiny_gguf with the linears' weights in Q8_0, random bits all over. */
GgufWriter q8_gguf(const ModelConfig& config) {
  GgufWriter gguf = tiny_gguf(config);
  uint64_t number = 0;
  for (GgufWriter::Tensor& tensor : gguf.tensors()) {
    if (!tensor.name.starts_with("blk.") || tensor.shape.size() != 2) continue;
    tensor.type = static_cast<uint32_t>(GgmlType::kQ8_0);
    tensor.data.clear();
    for (int64_t block = 0; block < num_elements(tensor.shape) / 32; ++block) {
      const uint64_t bits = random_bits(5, number++);
      // A half of some size: any sign and fraction, an exponent that is neither the least nor the greatest.
      const auto half = static_cast<uint16_t>((bits & 0x83ff) | (1 + bits % 30) << 10);
      tensor.data += raw(half);
      for (int64_t i = 0; i < 32; ++i) tensor.data += static_cast<char>(random_bits(6, number++) & 0xff);
    }
  }
  return gguf;
}

TEST(Quantise, GgufsQ8IsTakenAsItIs) {
  ModelConfig config = tiny_config();
  config.intermediate_size = 64;
  TempFolder folder;
  GgufWriter writer = q8_gguf(config);
  const ModelFiles files = ModelFiles::open(folder.file("q8.gguf", writer.bytes()));
  const BaseStorage storage{DType::kF32, Quantisation{Codes::kInt8, 32}};
  int compared = 0;
  for (const auto& tensor : files.spec().base_tensors()) {
    const HostTensor held = files.read_held(tensor.name, tensor.spec, storage),
                     file = files.read(tensor.name, DType::kF32);
    EXPECT_EQ(std::memcmp(held.data(), file.data(), file.bytes()), 0) << tensor.name;
    compared += storage.quantises(tensor.spec) ? 1 : 0;
  }
  EXPECT_EQ(compared, 14);
  // The codes lie in Hugging Face's order of rows, unchanged.
  const QuantisedWeight query = files.read_quantised("model.layers.0.self_attn.q_proj.weight", *storage.quantisation);
  EXPECT_EQ(query.scales.shape(), (Shape{32, 1}));
  EXPECT_TRUE(files.notes_on(storage).empty());
  const auto notes = files.notes_on({DType::kF32, Quantisation{Codes::kNf4, 32}});
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("14 weights of type Q8_0"), std::string::npos) << notes[0];
  EXPECT_NE(notes[0].find("model.dtype=gguf"), std::string::npos) << notes[0];
}

TEST(Quantise, ANumberThatIsNoneIsRefusedByName) {
  ModelConfig config = tiny_config();
  TempFolder folder;
  GgufWriter writer = tiny_gguf(config);
  for (GgufWriter::Tensor& tensor : writer.tensors())
    if (tensor.name == "blk.1.ffn_up.weight") {
      const float bad = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(tensor.data.data() + 40, &bad, 4);
    }
  const ModelFiles files = ModelFiles::open(folder.file("bad.gguf", writer.bytes()));
  expect_error([&] { files.read_quantised("model.layers.1.mlp.up_proj.weight", {Codes::kInt8, 32}); },
               {"bad.gguf", "model.layers.1.mlp.up_proj.weight", "element 10", "not a finite number"});
}

}  // namespace
}  // namespace gavel
