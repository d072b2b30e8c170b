#include "shard/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spec/family.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string error_of(std::string_view text) {
  try {
    parse_rules(text, "rules.yaml");
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

const std::string kLayer = "model.layers.3.";

/** A Llama of small shapes, with all biases. */
DecoderSpec small_llama() {
  ModelConfig config;
  config.vocab_size = 32;
  config.hidden_size = config.intermediate_size = 8;
  config.num_hidden_layers = 4;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.head_dim = 2;
  config.attention_bias = config.mlp_bias = true;
  return decoder_spec(config);
}

/** What the parameter is, by its name: a tensor of the base, half an adapter, or the head. */
TensorSpec tensor_of(const std::string& name) {
  for (const auto& tensor : small_llama().base_tensors())
    if (tensor.name == name) return tensor.spec;
  TensorSpec trained = head_spec(small_llama(), 3);
  if (name.ends_with("lora_A")) trained.role = TensorRole::kAdapterA;
  if (name.ends_with("lora_B")) trained.role = TensorRole::kAdapterB;
  return trained;
}

struct Partitioner {
  Mesh mesh;
  std::vector<PartitionRule> rules;
  std::vector<std::string> notes = {};
  DimensionAxes axes_of(const std::string& name, const Shape& shape) {
    TensorSpec tensor = tensor_of(name);
    tensor.shape = shape;
    return partition(mesh, rules, name, tensor, "", notes);
  }
};

TEST(Rules, DefaultsForLlama) {
  Partitioner partitioner{{2, 2, 2}, {}};
  auto axes = [&](const std::string& name, const Shape& shape) { return partitioner.axes_of(name, shape); };
  const DimensionAxes column = {{"mp"}, {"fsdp"}}, row = {{"fsdp"}, {"mp"}}, whole = {{}, {}};
  EXPECT_EQ(axes("model.embed_tokens.weight", {32, 8}), column);
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
    EXPECT_EQ(axes(kLayer + name + ".weight", {8, 8}), column) << name;
  for (const char* name : {"self_attn.o_proj", "mlp.down_proj"})
    EXPECT_EQ(axes(kLayer + name + ".weight", {8, 8}), row) << name;
  EXPECT_EQ(axes(kLayer + "self_attn.q_proj.bias", {8}), (DimensionAxes{{"mp"}}));
  EXPECT_EQ(axes(kLayer + "self_attn.o_proj.bias", {8}), (DimensionAxes{{}}));
  EXPECT_EQ(axes(kLayer + "input_layernorm.weight", {8}), (DimensionAxes{{}}));
  EXPECT_EQ(axes("model.norm.weight", {8}), (DimensionAxes{{}}));
  // An adapter's name contains its module's: the patterns must not catch it.
  EXPECT_EQ(axes("layers.*.self_attn.o_proj.lora_A", {4, 8}), whole);
  EXPECT_EQ(axes("layers.*.self_attn.v_proj.lora_B", {8, 4}), whole);
  EXPECT_EQ(axes("score", {3, 8}), whole);
  EXPECT_THAT(partitioner.notes, IsEmpty());
}

TEST(Rules, AxesOfSizeOneAreLeftOut) {
  Partitioner partitioner{{1, 8, 1}, {}};
  EXPECT_EQ(partitioner.axes_of("model.embed_tokens.weight", {32, 8}), (DimensionAxes{{}, {"fsdp"}}));
}

TEST(Rules, AnAxisThatDoesNotDivideIsDroppedThereWithOneLine) {
  Partitioner partitioner{{1, 2, 4}, {}};
  // mp = 4 does not divide 6, fsdp = 2 does.
  for (int layer : {0, 1, 2})
    EXPECT_EQ(partitioner.axes_of(fmt::format("model.layers.{}.mlp.up_proj.weight", layer), {6, 8}),
              (DimensionAxes{{}, {"fsdp"}}));
  EXPECT_THAT(partitioner.notes, ElementsAre("mesh 1x2x4: model.layers.*.mlp.up_proj.weight [6, 8]: "
                                             "dimension 0 is not split over mp, which does "
                                             "not divide it"));
}

TEST(Rules, OfSeveralAxesTheLastGiveWay) {
  EXPECT_THAT(dividing_axes({2, 4, 1}, {"dp", "fsdp"}, 8), ElementsAre("dp", "fsdp"));
  EXPECT_THAT(dividing_axes({2, 4, 1}, {"dp", "fsdp"}, 6), ElementsAre("dp"));
  EXPECT_THAT(dividing_axes({2, 4, 1}, {"dp", "fsdp"}, 3), IsEmpty());
}

TEST(Rules, AFileComesBeforeTheDefaults) {
  Partitioner partitioner{
      {2, 2, 2}, parse_rules("lora_A$: [null, [dp, fsdp]]\n'o_proj\\.weight$': [mp, fsdp]\nscore:\n", "rules.yaml")};
  EXPECT_EQ(partitioner.axes_of("layers.*.self_attn.o_proj.lora_A", {4, 8}), (DimensionAxes{{}, {"dp", "fsdp"}}));
  EXPECT_EQ(partitioner.axes_of("model.layers.0.self_attn.o_proj.weight", {8, 8}), (DimensionAxes{{"mp"}, {"fsdp"}}));
  EXPECT_EQ(partitioner.axes_of("score", {8, 8}), (DimensionAxes{{}, {}}));
  EXPECT_EQ(partitioner.axes_of("model.layers.0.mlp.down_proj.weight", {8, 8}), (DimensionAxes{{"fsdp"}, {"mp"}}));
}

TEST(Rules, BrokenFilesAreRefusedByLine) {
  EXPECT_THAT(error_of("[1, 2]"), HasSubstr("expected a map"));
  EXPECT_THAT(error_of("a: [tp]"), HasSubstr("rules.yaml:1: 'tp' is no axis"));
  EXPECT_THAT(error_of("a: [mp]\nb: [mp, mp]"), HasSubstr("rules.yaml:2: 'b': axis mp is used twice"));
  EXPECT_THAT(error_of("a: mp"), HasSubstr("expected a list"));
  EXPECT_THAT(error_of("a: [{x: y}]"), HasSubstr("expected an axis"));
  EXPECT_THAT(error_of("'(': [mp]"), HasSubstr("no regular expression"));
  EXPECT_THAT(error_of("a: ["), HasSubstr("rules.yaml"));
}

TEST(Rules, MoreDimensionsThanTheParameterHas) {
  Partitioner partitioner{{1, 8, 1}, parse_rules("norm: [null, fsdp]", "rules.yaml")};
  EXPECT_THROW(partitioner.axes_of("model.norm.weight", {8}), Error);
}

}  // namespace
}  // namespace gavel
