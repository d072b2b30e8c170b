// Any text as the JSON of pairs to judge: an Error, or pairs within the limit whose texts are UTF-8 and which
// are the same when written as JSON and read again. And as calibration.json: an Error, or a usable
// temperature.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "fuzz_target.h"
#include "input_file.h"
#include "judge/calibration.h"
#include "judge/pair_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    auto rows = gavel::pairs_from_json(text, 8);
    if (rows.empty() || rows.size() > 8) std::abort();
    auto list = nlohmann::json::array();
    for (const gavel::PreferenceRow& row : rows)
      list.push_back(
          {{"id", row.id}, {"prompt", row.prompt}, {"response_a", row.response_a}, {"response_b", row.response_b}});
    auto again = gavel::pairs_from_json(list.dump(), 8);  // dump() throws for what is not UTF-8
    for (size_t i = 0; i < rows.size(); ++i)
      if (again[i].id != rows[i].id || again[i].prompt != rows[i].prompt || again[i].response_a != rows[i].response_a ||
          again[i].response_b != rows[i].response_b)
        std::abort();
  } catch (const gavel::Error&) {
  }
  folder.write("calibration.json", text);
  try {
    auto calibration = gavel::read_calibration(folder.path());
    if (calibration)
      for (const auto* one : {&calibration->one_order, &calibration->both_orders})
        if (*one && !(std::isfinite((*one)->temperature) && (*one)->temperature > 0)) std::abort();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"prompt":"p","response_a":"a","response_b":"b","id":3})",
      R"([{"id":"x","prompt":["a","\ud800"],"response_a":[null,"é"],"response_b":["1","2"]}])",
      R"({"promt":"p","response_a":1e999,"response_b":{}})",
      R"({"temperature":0.66,"data":"d","rows":12,"swap_average":0.0,"log_loss_before":1,"log_loss_after":0.9})",
      R"({"version":2,"fitted_for":{"adapter":"a","base":"b","settings":{"data.max_length":"48"}},"one_order":{"kind":)"
      R"("classes","temperature":2,"bias":{"A":0.1,"B":-0.1,"tie":1}},"both_orders":{"kind":"style","lead":{},"tie":3}})",
      R"({"temperature":-1e-400})"};
}
