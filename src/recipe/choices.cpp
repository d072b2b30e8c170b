#include "recipe/choices.h"

#include "base/error.h"
#include "recipe/codec.h"

namespace gavel {

namespace detail {

const Choices<Recipe::BaseType>& choices_of(Recipe::BaseType) {
  using enum Recipe::BaseType;
  static const Choices<Recipe::BaseType> table = {{kBFloat16, "bfloat16"}, {kFloat16, "float16"}, {kFloat32, "float32"},
                                                  {kInt8, "int8"},         {kNf4, "nf4"},         {kGguf, "gguf"}};
  return table;
}
const Choices<Recipe::TaskKind>& choices_of(Recipe::TaskKind) {
  using enum Recipe::TaskKind;
  static const Choices<Recipe::TaskKind> table = {{kJudge, "judge"}, {kReward, "reward"}};
  return table;
}
const Choices<Recipe::JudgeForm>& choices_of(Recipe::JudgeForm) {
  using enum Recipe::JudgeForm;
  static const Choices<Recipe::JudgeForm> table = {{kJoint, "joint"}, {kSiamese, "siamese"}};
  return table;
}
const Choices<Recipe::RewardTies>& choices_of(Recipe::RewardTies) {
  using enum Recipe::RewardTies;
  static const Choices<Recipe::RewardTies> table = {{kDavidson, "davidson"}, {kNone, "none"}};
  return table;
}
const Choices<Recipe::RewardLoss>& choices_of(Recipe::RewardLoss) {
  using enum Recipe::RewardLoss;
  static const Choices<Recipe::RewardLoss> table = {{kPairs, "pairs"}, {kRegression, "regression"}, {kBce, "bce"}};
  return table;
}
const Choices<Recipe::ComputeType>& choices_of(Recipe::ComputeType) {
  using enum Recipe::ComputeType;
  static const Choices<Recipe::ComputeType> table = {
      {kAuto, "auto"}, {kBFloat16, "bfloat16"}, {kFloat16, "float16"}, {kFloat32, "float32"}};
  return table;
}
const Choices<Format>& choices_of(Format) {
  using enum Format;
  static const Choices<Format> table = {{kLmsys, "lmsys"},
                                        {kWsdm, "wsdm"},
                                        {kChosen, "chosen"},
                                        {kRanked, "ranked"},
                                        {kHelpSteer3, "helpsteer3"},
                                        {kScored, "scored"},
                                        {kConversations, "conversations"},
                                        {kGeneric, "generic"}};
  return table;
}
const Choices<Cells>& choices_of(Cells) {
  using enum Cells;
  static const Choices<Cells> table = {{kJson, "json"}, {kSplit, "split"}, {kText, "text"}};
  return table;
}
const Choices<Truncation>& choices_of(Truncation) {
  using enum Truncation;
  static const Choices<Truncation> table = {{kRight, "right"}, {kLeft, "left"}, {kProportional, "proportional"}};
  return table;
}
const Choices<Batching>& choices_of(Batching) {
  using enum Batching;
  static const Choices<Batching> table = {{kPadded, "padded"}, {kBucketed, "bucketed"}, {kPacked, "packed"}};
  return table;
}
const Choices<Swap>& choices_of(Swap) {
  using enum Swap;
  static const Choices<Swap> table = {{kNone, "none"}, {kRandom, "random"}, {kBoth, "both"}};
  return table;
}
const Choices<Curriculum>& choices_of(Curriculum) {
  static const Choices<Curriculum> table = {{Curriculum::kNone, "none"}, {Curriculum::kLength, "length"}};
  return table;
}
const Choices<Recipe::Head>& choices_of(Recipe::Head) {
  using enum Recipe::Head;
  static const Choices<Recipe::Head> table = {
      {kAuto, "auto"}, {kBase, "base"}, {kFresh, "fresh"}, {kShares, "shares"}, {kLabels, "labels"}};
  return table;
}
const Choices<Recipe::Schedule>& choices_of(Recipe::Schedule) {
  using enum Recipe::Schedule;
  static const Choices<Recipe::Schedule> table = {{kCosine, "cosine"}, {kLinear, "linear"}, {kConstant, "constant"}};
  return table;
}
const Choices<Recipe::Kernels>& choices_of(Recipe::Kernels) {
  using enum Recipe::Kernels;
  static const Choices<Recipe::Kernels> table = {{kAuto, "auto"}, {kPlain, "plain"}};
  return table;
}
const Choices<Recipe::Layers>& choices_of(Recipe::Layers) {
  using enum Recipe::Layers;
  static const Choices<Recipe::Layers> table = {{kAuto, "auto"}, {kScan, "scan"}, {kUnrolled, "unrolled"}};
  return table;
}
const Choices<Recipe::Recompute>& choices_of(Recipe::Recompute) {
  using enum Recipe::Recompute;
  static const Choices<Recipe::Recompute> table = {
      {kAuto, "auto"}, {kAll, "all"}, {kAttention, "attention"}, {kNone, "none"}};
  return table;
}
const Choices<Recipe::Resume>& choices_of(Recipe::Resume) {
  using enum Recipe::Resume;
  static const Choices<Recipe::Resume> table = {{kNever, "never"}, {kAuto, "auto"}};
  return table;
}

template <class Choice>
std::string read_named_choice(const RawValue& raw, Choice& choice) {
  std::vector<std::string> names;
  for (const auto& [value, name] : choices_of(Choice{})) names.push_back(name);
  size_t index = 0;
  std::string problem = read_choice(raw, names, index);
  if (problem.empty()) choice = choices_of(Choice{})[index].first;
  return problem;
}
template std::string read_named_choice(const RawValue&, Format&);
template std::string read_named_choice(const RawValue&, Cells&);

}  // namespace detail

template <class Choice>
std::string_view choice_name(Choice choice) {
  for (const auto& [value, name] : detail::choices_of(choice))
    if (value == choice) return name;
  fail("recipe: {} is not a choice of its setting", static_cast<int>(choice));
}
template std::string_view choice_name(Recipe::BaseType);
template std::string_view choice_name(Recipe::TaskKind);
template std::string_view choice_name(Recipe::JudgeForm);
template std::string_view choice_name(Recipe::RewardTies);
template std::string_view choice_name(Recipe::RewardLoss);
template std::string_view choice_name(Recipe::ComputeType);
template std::string_view choice_name(Format);
template std::string_view choice_name(Cells);
template std::string_view choice_name(Truncation);
template std::string_view choice_name(Batching);
template std::string_view choice_name(Swap);
template std::string_view choice_name(Curriculum);
template std::string_view choice_name(Recipe::Head);
template std::string_view choice_name(Recipe::Schedule);
template std::string_view choice_name(Recipe::Layers);
template std::string_view choice_name(Recipe::Kernels);
template std::string_view choice_name(Recipe::Recompute);
template std::string_view choice_name(Recipe::Resume);

}  // namespace gavel
