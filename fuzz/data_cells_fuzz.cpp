// Cells: any bytes give turns of valid UTF-8; turns written again read back the same.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "data/template.h"
#include "rows/cells.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (gavel::Cells kind : {gavel::Cells::kJson, gavel::Cells::kSplit, gavel::Cells::kText}) {
    gavel::Turns turns;
    std::string why = gavel::parse_cell(text, kind, turns);
    if (kind != gavel::Cells::kJson && !why.empty()) std::abort();
    for (const auto& turn : turns.texts)
      if (!gavel::is_valid_utf8(turn)) std::abort();
    gavel::Turns again;
    if (!gavel::parse_cell(gavel::json_cell(turns.texts), gavel::Cells::kJson, again).empty()) std::abort();
    if (again.texts != turns.texts || again.lone_surrogates != 0 || again.invalid_utf8 != 0) std::abort();
  }
  // What the repair of surrogates leaves has none.
  std::string repaired, twice;
  if (gavel::replace_lone_surrogates(text, repaired) > 0 && gavel::replace_lone_surrogates(repaired, twice) != 0)
    std::abort();
  try {
    gavel::Template::parse(text);
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"(["one","two"])",
      R"(["a \"q\" \\ \/ \b\f\n\r\t \u00e9",null])",
      R"(["\ud83d\ude00 \ud83d \udc00"])",
      "[\"\xFF\xE2\x82\"]",
      R"(["a\",\"b"])",
      "{{x}} {prompt} {response_a} {response_b}",
      "[[",
  };
}
