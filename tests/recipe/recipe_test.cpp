#include "recipe/recipe.h"
#include <gtest/gtest.h>
namespace gavel { namespace { TEST(A,B){} } }
