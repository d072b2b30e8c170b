#pragma once
#include "serve/forms.h"

namespace gavel {

// Questions to a judge or a reward as a model that tells classes, in the forms that routes.cpp lists. A judge's classes are its
// outcomes and their probabilities; a reward has one, whose probability is its sigmoid. What is asked of is
// - "messages", as conversation_of() reads them;
// - texts that are written out: no template is put around them. A judge reads them in one order alone;
// - of a judge, pairs as pairs_from_json() takes them.
// Each throws Error saying what is wrong with the body.

Question read_classify(std::string_view body, const FormContext& context);
Question read_pooling(std::string_view body, const FormContext& context);
/** {"inputs": a text, a list that is one sequence, or a list of sequences}; a sequence is [text that is written out], of a reward
 * [prompt, response] too, and of a judge [prompt, A, B]. */
Question read_predict(std::string_view body, const FormContext& context);

}  // namespace gavel
