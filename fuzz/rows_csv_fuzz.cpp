// CSV and the whole way from it to rows: any bytes give rows or an Error, and cells written again read back.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "files/csv.h"
#include "input_file.h"
#include "rows/layouts.h"
#include "rows/preferences.h"

namespace {

void check_csv(std::string_view text) {
  std::string again;
  std::vector<std::vector<std::string>> rows;
  try {
    gavel::CsvReader reader(text, "fuzz.csv");
    std::vector<gavel::CsvField> fields;
    std::string scratch;
    rows.push_back(reader.header());
    while (reader.next(fields)) {
      auto& row = rows.emplace_back();
      for (const auto& field : fields) row.emplace_back(field.text(scratch));
    }
  } catch (const gavel::Error&) {
    return;
  }
  // Quoted throughout, so that an empty single cell is no blank line.
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) {
      std::string cell = gavel::csv_cell(row[c]);
      again += cell.starts_with('"') && cell.size() > 1 ? cell
               : row[c].find('"') == std::string::npos  ? '"' + row[c] + '"'
                                                        : cell;
      again += c + 1 == row.size() ? "\n" : ",";
    }
  gavel::CsvReader reader(again, "again.csv");
  if (reader.header() != rows[0]) std::abort();
  std::vector<gavel::CsvField> fields;
  std::string scratch;
  for (size_t r = 1; r < rows.size(); ++r) {
    if (!reader.next(fields)) std::abort();
    for (size_t c = 0; c < fields.size(); ++c)
      if (fields[c].text(scratch) != rows[r][c]) std::abort();
  }
  if (reader.next(fields)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  check_csv(text);
  auto path = folder.write("fuzz.csv", text);
  for (gavel::Cells cells : {gavel::Cells::kJson, gavel::Cells::kSplit})
    for (gavel::Purpose purpose : {gavel::Purpose::kTrain, gavel::Purpose::kPredict}) try {
        gavel::read_preferences(path, {.cells = cells, .purpose = purpose});
      } catch (const gavel::Error&) {
      }
  // Cells that may hold conversations as JSON.
  for (gavel::Format format : {gavel::Format::kConversations, gavel::Format::kChosen, gavel::Format::kHelpSteer3,
                               gavel::Format::kScored, gavel::Format::kWsdm})
    try {
      for (const auto& row : gavel::read_preferences(path, {.format = format}).rows)
        for (const auto* turns : {&row.prompt, &row.response_a, &row.response_b})
          for (const auto& turn : *turns)
            if (!gavel::is_valid_utf8(turn)) std::abort();
    } catch (const gavel::Error&) {
    }
  try {
    gavel::recognize_layout(path);
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const std::string header = "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n";
  return {
      header + "1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\n",
      "\xEF\xBB\xBF" + header +
          "1,\"[\"\"p\\ud83d\"\"]\",[null],[null],0,1,0\r\n2,\"[\"\"x,\ny\"\"]\",[],[\"\"],0.5,0.5,0\r\n",
      header + "1,\"open,2,3,4,5,6,7\n",
      header + "1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\r2,[],[],[],0,0,2\r\r",
      "question_id,conversation_a,conversation_b,winner\n"
      "1,\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"u\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":"
      "\"\"a\"\"}]\","
      "\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":[{\"\"type\"\":\"\"text\"\",\"\"text\"\":\"\"u\"\"}]},{"
      "\"\"role\"\":\"\"assistant\"\","
      "\"\"content\"\":\"\"b\"\"}]\",both_bad\n",
      "prompt,chosen,rejected,score_chosen,score_rejected\n"
      "u,\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"\\ud83d\"\"}]\",\"[{\"\"role\"\":\"\"assistant\"\","
      "\"\"content\"\":null}]\",2,1\n"
      "u,\"[{'role': 'user'}]\",\"[{'role': 'user'}]\",2,1\n",
      "context,response1,response2,overall_preference\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"u\"\"}]\",a,b,"
      "-2\n",
      "a\n\"\"\n\"x\"\"\"\"\"\n",
      "",
  };
}
