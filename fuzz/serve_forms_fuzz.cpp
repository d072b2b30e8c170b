// Any text as a question at each path of the service, to a judge and to a reward: an Error, or rows within the limit and an answer
// that is JSON.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "fuzz_target.h"
#include "serve/routes.h"

namespace {

constexpr size_t kMostPairs = 4;

void ask(const gavel::Route& route, std::string_view text, gavel::JudgeKind kind) {
  const gavel::FormContext context{kMostPairs, "model", "1", 0, kind, {"A", "B", "tie"}, ""};
  try {
    const gavel::Question question = route.read(text, context);
    if (question.rows.empty() || question.rows.size() > kMostPairs) std::abort();
    std::vector<gavel::Verdict> verdicts;
    for (const gavel::PreferenceRow& row : question.rows) {
      if (row.response_a.empty() || row.response_b.empty()) std::abort();
      gavel::Verdict& verdict = verdicts.emplace_back();
      verdict.probabilities = {0.5, 0.25, 0.25};
      if (kind == gavel::JudgeKind::kReward) verdict.rewards = {1, -1};
      verdict.length = verdict.length_b = 1;
    }
    // As the service writes it; parse() throws where that were no JSON.
    const std::string written =
        question.answer(verdicts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (nlohmann::json::parse(written).is_null()) std::abort();
  } catch (const gavel::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const gavel::Route& route : gavel::routes()) {
    if (route.read == nullptr) continue;
    if (!route.needs_rewards) ask(route, text, gavel::JudgeKind::kPair);
    ask(route, text, gavel::JudgeKind::kReward);
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const gavel::Route& route : gavel::routes())
    for (const char* example : {route.example, route.reward_example})
      if (*example != '\0') seeds.emplace_back(example);
  seeds.insert(seeds.end(),
               {R"({"input":["a",{"text":"b"}],"use_activation":false})", R"({"inputs":[["a"],["a","b"]]})",
                R"({"input":[{"prompt":"p","response_a":["a",null],"response_b":"b"}],"activation":null})",
                R"({"query":["a","b","c"],"labels":[null]})", R"({"inputs":"\ud800","raw_scores":true})"});
  return seeds;
}
