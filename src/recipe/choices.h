#pragma once
#include <string>
#include <utility>
#include <vector>

#include "recipe/recipe.h"

namespace gavel::detail {

/** A setting's choices, each with how the recipe spells it. */
template <class Choice>
using Choices = std::vector<std::pair<Choice, std::string>>;

// A table for each enum; the argument only selects the overload.
const Choices<Recipe::BaseType>& choices_of(Recipe::BaseType);
const Choices<Recipe::TaskKind>& choices_of(Recipe::TaskKind);
const Choices<Recipe::JudgeForm>& choices_of(Recipe::JudgeForm);
const Choices<Recipe::RewardTies>& choices_of(Recipe::RewardTies);
const Choices<Recipe::RewardLoss>& choices_of(Recipe::RewardLoss);
const Choices<Recipe::ComputeType>& choices_of(Recipe::ComputeType);
const Choices<Format>& choices_of(Format);
const Choices<Cells>& choices_of(Cells);
const Choices<Truncation>& choices_of(Truncation);
const Choices<Batching>& choices_of(Batching);
const Choices<Swap>& choices_of(Swap);
const Choices<Curriculum>& choices_of(Curriculum);
const Choices<Recipe::Head>& choices_of(Recipe::Head);
const Choices<Recipe::Schedule>& choices_of(Recipe::Schedule);
const Choices<Recipe::Kernels>& choices_of(Recipe::Kernels);
const Choices<Recipe::Layers>& choices_of(Recipe::Layers);
const Choices<Recipe::Recompute>& choices_of(Recipe::Recompute);
const Choices<Recipe::Resume>& choices_of(Recipe::Resume);

}  // namespace gavel::detail
