// JSONL: any bytes give rows or an Error; the kept rows' texts are UTF-8 and their labels sum to 1.
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "input_file.h"
#include "rows/layouts.h"
#include "rows/preferences.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  auto path = folder.write("fuzz.jsonl", {reinterpret_cast<const char*>(data), size});
  gavel::ReadOptions winner{.format = gavel::Format::kWsdm};
  gavel::ReadOptions split{.cells = gavel::Cells::kSplit, .purpose = gavel::Purpose::kPredict};
  gavel::ReadOptions predict{.purpose = gavel::Purpose::kPredict};
  gavel::ReadOptions chosen{.format = gavel::Format::kChosen, .score_margin = 1};
  gavel::ReadOptions ranked{.format = gavel::Format::kRanked, .score_margin = 0.5};
  ranked.columns.weight = "w";
  gavel::ReadOptions helpsteer{.format = gavel::Format::kHelpSteer3}, scored{.format = gavel::Format::kScored};
  gavel::ReadOptions conversations{.format = gavel::Format::kConversations}, judged = conversations;
  judged.purpose = gavel::Purpose::kPredict;
  for (const gavel::ReadOptions& options :
       {gavel::ReadOptions(), predict, split, winner, chosen, ranked, helpsteer, scored, conversations, judged})
    try {
      gavel::PreferenceData found = gavel::read_preferences(path, options);
      for (const auto& row : found.rows) {
        for (const auto* turns : {&row.prompt, &row.response_a, &row.response_b})
          for (const auto& turn : *turns)
            if (!gavel::is_valid_utf8(turn)) std::abort();
        if (!(row.weight > 0 && row.margin >= 0) || std::isinf(row.weight) || std::isinf(row.margin)) std::abort();
        if (options.format == gavel::Format::kScored) {
          if (!std::isfinite(row.score) || row.has_label) std::abort();
          continue;
        }
        float sum = row.label[0] + row.label[1] + row.label[2];
        if (row.has_label != (options.purpose == gavel::Purpose::kTrain || sum != 0)) std::abort();
        if (row.has_label && std::abs(sum - 1) > 1e-5f) std::abort();
      }
    } catch (const gavel::Error&) {
    }
  try {
    gavel::recognize_layout(path);
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"id":1,"prompt":["p",null],"response_a":"a","response_b":["\ud83d"],"winner_model_a":1,"winner_model_b":0,"winner_tie":0})"
      "\n",
      R"({"id":"x","prompt":"[\"p\"]","response_a":["a"],"response_b":[],"winner_model_a":"0.5","winner_model_b":true,"winner_tie":null})"
      "\r\n\n"
      R"({"id":{"a":[1]},"prompt":null,"response_a":[1],"response_b":{},"winner_model_a":2,"winner_model_b":1,"winner_tie":0.1})",
      R"({"id":3,"prompt":"p","response_a":"a","response_b":"b","winner":"model_b"})"
      "\n"
      R"({"prompt":"p","response_a":"a","response_b":"b","winner":"tie","winner":7})"
      "\n",
      "\xEF\xBB\xBF{\"prompt\":\"\xFF\xE2\x82\",\"response_a\":\"\",\"response_b\":\"\\\\\\ud83d\"}\n",
      R"({"prompt":"p","responses":["a",[{"role":"assistant","content":"b"}],"c"],"scores":[1,"2",1.5],"w":2})"
      "\n"
      R"({"prompt":[{"role":"user","content":"u"}],"responses":["a","b"],"ranks":[2,1],"w":"0.5"})",
      R"({"instruction":"i","completions":[{"response":"a","overall_score":1},{"response":"b","fine-grained_score":2}],"w":1})",
      R"({"context":[{"role":"user","content":"u"}],"response1":"a","response2":"b","overall_preference":-3})",
      R"({"prompt":"p","response":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"score":0.5})",
      R"({"chosen":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"rejected":"b","score_chosen":2,"score_rejected":1})",
      R"({"id":1,"conversation_a":[{"role":"user","content":"u"},{"role":"assistant","content":null}],"conversation_b":[{"role":"user","content":[{"type":"text","text":"u","image":null}]},{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"winner":"both_bad"})"
      "\n"
      R"({"question_id":2,"conversation_a":"[{\"role\":\"user\",\"content\":\"u\\ud83d\"},{\"role\":\"assistant\",\"content\":\"a\"}]","conversation_b":"[{'role': 'user'}]","winner":"tie"})",
      R"({"question":"q","Answer_1":"[\"a\"]","answer_2":["b"],"preference":2})",
      "[1]\n",
      "",
  };
}
