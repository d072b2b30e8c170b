#pragma once
#include "serve/forms.h"

namespace gavel {

// Questions for numbers of answers, in the forms that routes.cpp lists. Each throws Error saying what is wrong with the body.

Question read_rerank(std::string_view body, const FormContext& context);
Question read_score(std::string_view body, const FormContext& context);
/** Of a reward also texts that are written out; of a judge each answer against a reference. */
Question read_get_reward(std::string_view body, const FormContext& context);

}  // namespace gavel
