// Weights held as a GGUF file holds them have the numbers that dequantising gives (whose goldens are the gguf package's), bit
// for bit.
#include "io/gguf_blocks.h"

#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "io/model_files.h"
#include "io/sample_files.h"
#include "spec/family.h"

namespace gavel {
namespace {

using Codes = Quantisation::Codes;

const GgmlType kInBlocks[] = {GgmlType::kQ4_0,   GgmlType::kQ4_1,   GgmlType::kQ5_0,  GgmlType::kQ5_1, GgmlType::kQ8_0,
                              GgmlType::kQ2_K,   GgmlType::kQ3_K,   GgmlType::kQ4_K,  GgmlType::kQ5_K, GgmlType::kQ6_K,
                              GgmlType::kIQ4_NL, GgmlType::kIQ4_XS, GgmlType::kTQ1_0, GgmlType::kTQ2_0};

uint32_t number_of(GgmlType type) {
  return static_cast<uint32_t>(type);
}

/** How many numbers of a random weight of the type differ in their bits when it is held as `how` says. */
size_t different_when_held(GgmlType type, const Quantisation& how) {
  constexpr int64_t kRows = 5, kColumns = 768;
  const std::string blocks = random_blocks(type, kRows * kColumns, 40 + number_of(type), 0.1);
  const auto* data = reinterpret_cast<const uint8_t*>(blocks.data());
  QuantisedWeight held{HostTensor(how.codes_type(), {kRows, kColumns / how.codes_in_a_byte()}),
                       HostTensor(how.scales_type(), {kRows, kColumns / how.block, how.block_scales().count()})};
  take_apart(type, data, kRows * kColumns, how, static_cast<uint8_t*>(held.codes.mutable_data()),
             held.scales.as_mutable<uint16_t>().data());
  std::vector<float> wanted(kRows * kColumns);
  dequantize(type, data, kRows * kColumns, wanted.data());
  const HostTensor found = dequantise(held, how);
  size_t different = 0, zeros = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    different += std::bit_cast<uint32_t>(wanted[i]) != std::bit_cast<uint32_t>(found.as<float>()[i]) ? 1 : 0;
    zeros += wanted[i] == 0 ? 1 : 0;
  }
  EXPECT_LT(zeros, wanted.size() / 2);
  return different;
}

TEST(GgufBlocks, EachTypeIsHeldExactly) {
  for (GgmlType type : kInBlocks)
    EXPECT_EQ(different_when_held(type, *block_quantisation(type)), 0u) << ggml_block(number_of(type))->name;
}

TEST(GgufBlocks, AnyTwoTypesAreHeldExactlyInOneWay) {
  for (GgmlType one : kInBlocks)
    for (GgmlType other : kInBlocks) {
      const Quantisation both = holding_both(*block_quantisation(one), *block_quantisation(other));
      EXPECT_EQ(both.codes == Codes::kUint4 ? both.minimum : both.codes != Codes::kInt4 || !both.minimum, true);
      EXPECT_EQ(different_when_held(one, both) + different_when_held(other, both), 0u)
          << ggml_block(number_of(one))->name << " with " << ggml_block(number_of(other))->name;
    }
}

TEST(GgufBlocks, TypesOfAllLayersAreHeldTogether) {
  auto held = [](std::vector<GgmlType> types) {
    std::vector<uint32_t> numbers;
    for (GgmlType type : types) numbers.push_back(number_of(type));
    return held_together(numbers);
  };
  EXPECT_EQ(held({GgmlType::kQ4_K, GgmlType::kQ4_K}).quantisation, (Quantisation{Codes::kUint4, 32, 256, true}));
  EXPECT_EQ(held({GgmlType::kQ6_K}).quantisation, (Quantisation{Codes::kInt8, 16, 256}));
  const FileStorage mixed = held({GgmlType::kQ6_K, GgmlType::kQ4_K});
  EXPECT_EQ(mixed.quantisation, (Quantisation{Codes::kInt8, 16, 256, true}));
  EXPECT_EQ(mixed.types, "Q4_K, Q6_K");
  EXPECT_EQ(held({GgmlType::kQ8_0, GgmlType::kQ5_0}).quantisation, (Quantisation{Codes::kInt8, 32, 32}));
  // Multiples of a block's factor, of which there are an even number.
  EXPECT_EQ(held({GgmlType::kQ5_0, GgmlType::kQ5_K}).quantisation, (Quantisation{Codes::kInt8, 16, 32, true}));
  EXPECT_EQ(held({GgmlType::kBF16}).numbers, DType::kBF16);
  EXPECT_EQ(held({GgmlType::kBF16, GgmlType::kF16}).numbers, DType::kF32);
  EXPECT_EQ(held({GgmlType::kF32, GgmlType::kBF16}).numbers, DType::kF32);
  for (const FileStorage& neither : {held({GgmlType::kF16, GgmlType::kQ4_K}), held({GgmlType::kQ4_K, GgmlType::kF16}),
                                     held({GgmlType::kMXFP4}), held({GgmlType::kQ8_0, GgmlType::kMXFP4})}) {
    EXPECT_FALSE(neither.quantisation) << neither.types;
    EXPECT_FALSE(neither.numbers) << neither.types;
  }
}

TEST(GgufBlocks, RefusesWhatDoesNotHoldTheType) {
  const std::string blocks = random_blocks(GgmlType::kQ4_K, 256, 1, 1);
  std::vector<uint8_t> codes(256);
  std::vector<uint16_t> scales(256);
  auto take = [&](int64_t count, const Quantisation& how) {
    take_apart(GgmlType::kQ4_K, reinterpret_cast<const uint8_t*>(blocks.data()), count, how, codes.data(),
               scales.data());
  };
  expect_error([&] { take(256, *block_quantisation(GgmlType::kQ6_K)); }, {"Q4_K", "groups of 16"});
  expect_error([&] { take(128, *block_quantisation(GgmlType::kQ4_K)); }, {"128 elements of Q4_K"});
  expect_error([] { quantise(HostTensor(DType::kF32, {2, 256}), *block_quantisation(GgmlType::kQ4_K)); }, {"blocks"});
}

const BaseStorage kAsFile{DType::kBF16, {}, true};

TEST(GgufBlocks, AModelHasTheNumbersOfItsFile) {
  TempFolder folder;
  GgufWriter writer = k_quant_gguf(k_quant_config());
  const ModelFiles files = ModelFiles::open(folder.file("k.gguf", writer.bytes()));
  int compared = 0;
  for (const auto& tensor : files.spec().base_tensors()) {
    const HostTensor held = files.read_held(tensor.name, tensor.spec, kAsFile);
    if (!kAsFile.quantises(tensor.spec)) {
      EXPECT_EQ(held.dtype(), DType::kBF16) << tensor.name;
      continue;
    }
    const HostTensor file = files.read(tensor.name, DType::kF32);
    EXPECT_EQ(std::memcmp(held.data(), file.data(), file.bytes()), 0) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 21);
  const AttentionSpec& attention = files.spec().blocks[0].attention;
  EXPECT_EQ(attention.q_proj.weight.in_file->types, "Q4_K");
  EXPECT_EQ(attention.v_proj.weight.in_file->types, "Q4_K, Q6_K");
  const auto query = held_as(attention.q_proj.weight, kAsFile);
  ASSERT_EQ(query.size(), 2u);
  EXPECT_EQ(query[0].spec.shape, (Shape{256, 128}));
  EXPECT_EQ(query[0].dtype, DType::kU8);
  EXPECT_EQ(query[1].spec.shape, (Shape{256, 1, 18}));
  EXPECT_EQ(query[1].dtype, DType::kF16);
  EXPECT_EQ(query[1].spec.dimensions.size(), 3u);
  const auto value = held_as(attention.v_proj.weight, kAsFile);
  EXPECT_EQ(value[0].spec.shape, (Shape{128, 256}));
  EXPECT_EQ(value[1].spec.shape, (Shape{128, 1, 34}));
  EXPECT_TRUE(files.notes_on(kAsFile).empty());
  const auto notes = files.notes_on({DType::kBF16, Quantisation{Codes::kInt8, 32}});
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("21 weights of type Q4_K, Q5_0, Q6_K"), std::string::npos) << notes[0];
  EXPECT_NE(notes[0].find("model.dtype=gguf"), std::string::npos) << notes[0];
}

TEST(GgufBlocks, WeightsThatTheFileHasAsNumbersStayThem) {
  TempFolder folder;
  GgufWriter writer = k_quant_gguf(k_quant_config());
  for (GgufWriter::Tensor& tensor : writer.tensors())
    if (tensor.name.ends_with("attn_output.weight")) {
      tensor.type = number_of(GgmlType::kF16);
      tensor.data.assign(static_cast<size_t>(num_elements(tensor.shape)) * 2, '\x21');
    }
  const ModelFiles files = ModelFiles::open(folder.file("k.gguf", writer.bytes()));
  const TensorSpec& output = files.spec().blocks[0].attention.o_proj.weight;
  const auto held = held_as(output, kAsFile);
  ASSERT_EQ(held.size(), 1u);
  EXPECT_EQ(held[0].dtype, DType::kF32);  // which holds float16 exactly
  const std::string name = name_in_layer(output.name, 1);
  const HostTensor found = files.read_held(name, output, kAsFile), wanted = files.read(name, DType::kF32);
  EXPECT_EQ(std::memcmp(found.data(), wanted.data(), wanted.bytes()), 0);
}

TEST(GgufBlocks, WhatCanNotBeHeldIsRefusedByName) {
  TempFolder folder;
  GgufWriter writer = k_quant_gguf(k_quant_config());
  for (GgufWriter::Tensor& tensor : writer.tensors())
    if (tensor.name == "blk.2.ffn_up.weight") {
      tensor.type = number_of(GgmlType::kMXFP4);
      tensor.data.assign(static_cast<size_t>(num_elements(tensor.shape)) / 32 * 17, '\x70');
    }
  const ModelFiles files = ModelFiles::open(folder.file("k.gguf", writer.bytes()));
  expect_error([&] { held_tensors(files.spec().blocks[0], kAsFile); },
               {"model.dtype: gguf", "mlp.up_proj.weight", "blk.*.ffn_up.weight", "MXFP4, Q4_K"});
  // A folder has no such types.
  expect_error([&] { held_tensors(decoder_spec(k_quant_config()).blocks[0], kAsFile); },
               {"model.dtype: gguf", "q_proj.weight", ".gguf file"});
}

TEST(GgufBlocks, AScaleThatIsNoNumberIsRefusedByName) {
  TempFolder folder;
  GgufWriter writer = k_quant_gguf(k_quant_config());
  for (GgufWriter::Tensor& tensor : writer.tensors())
    if (tensor.name == "blk.1.ffn_up.weight") tensor.data[144 + 1] = '\x7c';  // infinite, of the second block
  const ModelFiles files = ModelFiles::open(folder.file("k.gguf", writer.bytes()));
  const TensorSpec& up = files.spec().blocks[0].feed_forward.up_proj.weight;
  expect_error([&] { files.read_held(name_in_layer(up.name, 1), up, kAsFile); },
               {"mlp.up_proj.weight", "damaged", "18"});
}

}  // namespace
}  // namespace gavel
