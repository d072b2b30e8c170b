#pragma once
#include "serve/forms.h"

namespace gavel {

// Questions to a reward, in the forms that forms.h lists. Each throws Error saying what is wrong with the body.

Question read_rerank(std::string_view body, const FormContext& context);
Question read_score(std::string_view body, const FormContext& context);
Question read_classify(std::string_view body, const FormContext& context);
Question read_pooling(std::string_view body, const FormContext& context);
Question read_get_reward(std::string_view body, const FormContext& context);

}  // namespace gavel
