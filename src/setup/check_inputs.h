#pragma once
#include "recipe/recipe.h"

namespace gavel {

/** Looks at all that a run needs and that shows at once, before anything long begins: whether the model, the data files with
 * their columns, and what else the recipe names are there, and the device's hardware. Throws one Error with a line for each
 * that is wrong. A model of the Hugging Face hub that is not in the cache is downloaded here. */
void check_inputs(const Recipe& recipe);

}  // namespace gavel
