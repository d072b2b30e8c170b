#include "serve/forms.h"

#include "judge/pair_json.h"
#include "serve/form_parts.h"
#include "serve/reward_forms.h"

namespace gavel {

namespace {

Question read_pairs(std::string_view body, const FormContext& context) {
  Question question;
  question.rows = pairs_from_json(body, context.most_pairs);
  const size_t first = body.find_first_not_of(" \t\r\n");
  const bool is_list = first != std::string::npos && body[first] == '[';
  question.answer = [rows = question.rows, is_list](std::span<const Verdict> verdicts) {
    if (!is_list) return verdict_json(rows[0], verdicts[0]);
    AnswerJson list = AnswerJson::array();
    for (size_t i = 0; i < rows.size(); ++i) list.push_back(verdict_json(rows[i], verdicts[i]));
    return list;
  };
  return question;
}

}  // namespace

std::span<const QuestionForm> question_forms() {
  static const QuestionForm kForms[] = {
      {"/v1/judge", false, ErrorForm::kText, read_pairs},        {"/rerank", true, ErrorForm::kServer, read_rerank},
      {"/v1/rerank", true, ErrorForm::kServer, read_rerank},     {"/score", true, ErrorForm::kServer, read_score},
      {"/v1/score", true, ErrorForm::kServer, read_score},       {"/classify", true, ErrorForm::kServer, read_classify},
      {"/v1/classify", true, ErrorForm::kServer, read_classify}, {"/pooling", true, ErrorForm::kServer, read_pooling},
      {"/get_reward", true, ErrorForm::kText, read_get_reward},
  };
  return kForms;
}

}  // namespace gavel
